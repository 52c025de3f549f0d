"""Which parameters get the output's rate, and which the hidden layers'."""

from __future__ import annotations

import pytest
import snntorch as snn
import torch
import torch.nn.functional as F
from torch import nn

from snntorch_brp import BRP, BRPTrainer, OutputOnly, attach, firing_fault, firing_message, parameter_groups, unroll
from snntorch_brp.models import mlp


class Tutorial(nn.Module):
    """As in snnTorch's tutorials: synapses first, neurons behind them, and states passed by hand."""

    def __init__(self, *, all_to_all: bool = False) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(6, 5), nn.Linear(5, 3)
        self.lif1 = (
            snn.RLeaky(0.9, linear_features=5, learn_beta=True) if all_to_all else snn.Leaky(0.9, learn_beta=True)
        )
        self.lif2 = snn.Leaky(0.9, learn_beta=True, learn_threshold=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = self.lif1.init_rleaky() if isinstance(self.lif1, snn.RLeaky) else (self.lif1.reset_mem(),)
        mem, spikes = self.lif2.reset_mem(), []
        for x_t in x:
            spk, *state = self.lif1(self.fc1(x_t), *state)
            spk, mem = self.lif2(self.fc2(spk), mem)
            spikes.append(spk)
        return torch.stack(spikes)


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), snn.Leaky(0.9, init_hidden=True), nn.Flatten()),
            nn.Sequential(nn.Linear(16, 3), nn.BatchNorm1d(3), snn.Leaky(0.9, init_hidden=True, learn_beta=True)),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.net(x_t.unflatten(1, (1, 4, 4))) for x_t in x])


@pytest.mark.parametrize(
    ("net", "inputs"), [(Tutorial(), 6), (Nested(), 16)], ids=["synapses before neurons", "nested, with batch norm"]
)
def test_the_output_is_what_the_loss_teaches(net: nn.Module, inputs: int) -> None:
    """By another way: under OutputOnly gradients come to the output, and to nothing else."""
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.uniform_(module.weight, 0, 1)
    labels = torch.tensor([0, 1, 2, 0])
    with attach(net, OutputOnly(), num_classes=3) as brp:
        spikes = net(torch.rand(5, 4, inputs, generator=torch.Generator().manual_seed(0)))
        brp.backward(F.mse_loss(spikes.mean(0), F.one_hot(labels, 3).float()), labels)
    hidden, output = parameter_groups(net, lr=1e-2, hidden_lr=1e-4)
    assert (hidden["lr"], output["lr"]) == (1e-4, 1e-2)
    assert all(p.grad is not None for p in output["params"])
    assert all(p.grad is None for p in hidden["params"])
    assert [*map(id, net.parameters())] == [
        id(p) for p in net.parameters() if any(p is q for group in (hidden, output) for q in group["params"])
    ]
    assert len(hidden["params"]) + len(output["params"]) == len(list(net.parameters()))


def test_weights_inside_a_hidden_neuron_are_hidden() -> None:
    net = Tutorial(all_to_all=True)
    hidden, output = parameter_groups(net, lr=1e-2)
    assert hidden["lr"] == pytest.approx(1e-3)
    names = {id(p): name for name, p in net.named_parameters()}
    assert {names[id(p)] for p in output["params"]} == {"fc2.weight", "fc2.bias", "lif2.beta", "lif2.threshold"}
    assert "lif1.recurrent.weight" in {names[id(p)] for p in hidden["params"]}


def test_a_last_neuron_with_weights_of_its_own_is_the_output() -> None:
    net = nn.Sequential(nn.Linear(4, 3), snn.Leaky(0.9, init_hidden=True), snn.LeakyParallel(3, 2))
    _, output = parameter_groups(net, lr=1e-2)
    assert [id(p) for p in output["params"]] == [id(p) for p in net[2].parameters()]


def test_the_output_can_be_named() -> None:
    net = nn.ModuleDict({"head": nn.Linear(4, 2), "body": nn.Linear(8, 4), "lif": snn.Leaky(0.9)})
    for output in (net["head"], [net["head"]]):
        hidden, taught = parameter_groups(net, lr=0.1, output=output)
        assert [id(p) for p in taught["params"]] == [id(p) for p in net["head"].parameters()]
        assert [id(p) for p in hidden["params"]] == [id(p) for p in net["body"].parameters()]
    (only,) = parameter_groups(nn.Linear(4, 2), lr=0.1)  # no hidden layer: no hidden group
    assert only["lr"] == 0.1


def test_nonsense_is_told() -> None:
    net = nn.Sequential(nn.Linear(4, 2), snn.Leaky(0.9))
    with pytest.raises(ValueError, match=r"must not be negative, got lr=0.1, hidden_lr=-1"):
        parameter_groups(net, lr=0.1, hidden_lr=-1)
    with pytest.raises(ValueError, match=r"no parameters of Sequential: name the modules"):
        parameter_groups(net, lr=0.1, output=nn.Linear(4, 2))


def test_optimizers_step_each_group_at_its_rate() -> None:
    """Adam's first step is the learning rate for every weight with a gradient, whatever the gradient."""
    net = nn.Sequential(nn.Linear(4, 3), snn.Leaky(0.9), nn.Linear(3, 2), snn.Leaky(0.9))
    before = [net[0].weight.detach().clone(), net[2].weight.detach().clone()]
    optimizer = torch.optim.Adam(parameter_groups(net, lr=1e-2, hidden_lr=1e-4))
    for scale, p in enumerate(net.parameters()):
        p.grad = torch.full_like(p, 10.0**-scale)
    optimizer.step()
    moved = [(was - now).mean().item() for was, now in zip(before, (net[0].weight, net[2].weight), strict=True)]
    assert moved == pytest.approx([1e-4, 1e-2], rel=1e-3)


def test_the_first_step_of_adam_beside_the_weights() -> None:
    """lr √(3 fan_in) of their norm, as the docstring says: torch draws them from U(±1/√fan_in)."""
    torch.manual_seed(0)
    fc = nn.Linear(784, 100)
    before = fc.weight.detach().clone()
    fc.weight.grad = torch.randn(100, 784, generator=torch.Generator().manual_seed(1))
    torch.optim.Adam([fc.weight], lr=1e-2).step()
    share = ((fc.weight.detach() - before).norm() / before.norm()).item()
    assert share == pytest.approx(1e-2 * (3 * 784) ** 0.5, rel=0.01)  # 78,400 draws: the norm is known to 0.2 %


# -- firing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "fault"),
    [
        (torch.zeros(4, 10), "silent"),
        (torch.ones(4, 10), "saturated"),
        (torch.full((4, 2, 3, 3), 0.2), None),
        (torch.eye(40), None),  # one neuron for each sample: sparse, and well
        (torch.cat([torch.full((4, 40), 0.1), torch.full((4, 60), 0.95)], 1), "saturated"),
        (torch.cat([torch.full((4, 60), 0.1), torch.full((4, 40), 0.95)], 1), None),
        (torch.cat([torch.zeros(1, 1999), torch.ones(1, 1)], 1), "silent"),
        (torch.zeros(0, 4), None),
        (torch.full((4, 10), 0.95, dtype=torch.bfloat16), "saturated"),
    ],
)
def test_faults_of_firing(rate: torch.Tensor, fault: str | None) -> None:
    assert firing_fault(rate) == fault


def test_messages_name_the_layer_and_the_cure() -> None:
    silent, saturated = firing_message("lif1", "silent"), firing_message("lif1", "saturated")
    assert silent.startswith("layer 'lif1' is silent: ")
    assert "calibrate(net, x)" in silent
    assert saturated.startswith("layer 'lif1' is saturated: ")
    assert all("parameter_groups(net, lr=1e-3, hidden_lr=1e-4)" in message for message in (silent, saturated))


def test_the_advice_keeps_a_layer_from_saturating() -> None:
    """A first step of Adam at a tutorial's rate floods the hidden layer; at a tenth of it, it does not.

    Every weight of a neuron moves by lr at once, so that 100 active inputs move its current by 100 lr: far beyond the
    threshold of 1 at 0.1, and a fraction of it at a tenth.
    """
    found = []
    for hidden_lr in (0.1, 0.01):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Linear(100, 50), snn.Leaky(0.9, init_hidden=True), nn.Linear(50, 3), snn.Leaky(0.9, init_hidden=True)
        )
        optimizer = torch.optim.Adam(parameter_groups(net, lr=0.1, hidden_lr=hidden_lr))
        for p in net.parameters():
            p.grad = -torch.ones_like(p)
        optimizer.step()
        rate = torch.stack([net[1](net[0](torch.ones(8, 100) * 0.5)) for _ in range(20)]).mean(0)
        found.append(firing_fault(rate.detach()))
    assert found == ["saturated", None]


@pytest.mark.parametrize("lr", [2e-2, 1e-3])
@pytest.mark.parametrize("engine", ["attach", "fused", "own loop"])
def test_a_first_step_that_is_too_large_is_told_once(lr: float, engine: str, caplog, recwarn) -> None:
    """Adam's first step at 784 inputs is up to lr √(3·784) of the weights' size: 0.97 and 0.05 of it."""
    torch.manual_seed(0)
    net = mlp([784, 20, 10])
    x, labels = (torch.rand(10, 8, 784) < 0.2).float(), torch.arange(8)
    optimizer = torch.optim.Adam(net.parameters(), lr)
    if engine == "own loop":
        with attach(net, BRP(), num_classes=10) as brp:
            for _ in range(6):
                brp.reset()
                loss = F.mse_loss(unroll(net, x).mean(0), F.one_hot(labels, 10).float())
                optimizer.zero_grad()
                brp.backward(loss, labels)
                optimizer.step()
        said = [str(warning.message) for warning in recwarn]
    else:
        trainer = BRPTrainer(net, num_classes=10, propagation=BRP(), optimizer=optimizer, engine=engine)
        trainer.fit([(x, labels)] * 3, epochs=2, progress=False)
        said = [record.getMessage() for record in caplog.records]
    told = [message for message in said if message.startswith("the first step of the optimizer moved 'fc1.weight'")]
    assert len(told) == (lr > 1e-2)
