"""Online learning: equal to full credit where it is exact, and never more than a step in memory."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
import snntorch as snn
import torch
import torch.nn.functional as F
from networks import K, Looped, batch, grads, mlp, mse, run, spread
from neurons_of_snntorch import STEPWISE
from torch import Tensor, nn

from snntorch_brp import (
    BRP,
    Backprop,
    OutputOnly,
    RefractoryLeaky,
    RewardPrediction,
    StateDifference,
    attach,
    boxcar,
    reset_state,
)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def lif(reset: str = "subtract") -> snn.Leaky:
    return snn.Leaky(0.75, 0.5, reset_mechanism=reset, init_hidden=True, spike_grad=boxcar())


def dense(neuron: Callable[[], nn.Module]) -> nn.Sequential:
    layers = [nn.Linear(6, 8), neuron(), nn.Linear(8, 7), nn.Linear(7, 7), neuron(), nn.Linear(7, K), neuron()]
    return spread(nn.Sequential(*layers).double())


def conv(neuron: Callable[[], nn.Module]) -> nn.Sequential:
    layers = [
        *(nn.Conv2d(1, 3, 3, padding=1, padding_mode="circular"), nn.AvgPool2d(2), neuron()),
        *(nn.Conv2d(3, 4, 2, bias=False), neuron()),
        *(nn.Flatten(), nn.Linear(16, K), neuron()),
    ]
    return spread(nn.Sequential(*layers).double())


def full(net: nn.Module, rule, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
    net.zero_grad()
    reset_state(net)
    with attach(net, rule, num_classes=K, generator=seeded()) as brp:
        brp.backward(mse(run(net, x), labels), labels)
    return grads(net)


def online(net: nn.Module, rule, x: Tensor, labels: Tensor, credit: str) -> dict[str, Tensor]:
    net.zero_grad()
    with attach(net, rule, num_classes=K, credit=credit, generator=seeded()) as brp:
        for _ in range(2):  # the second starts from rest
            net.zero_grad()
            brp.reset()
            brp.teach(labels, steps=len(x))
            run(net, x)
    return grads(net)


@pytest.mark.parametrize("reset", ["subtract", "none"])
@pytest.mark.parametrize(("build", "inputs"), [(dense, (6,)), (conv, (1, 6, 6))])
@pytest.mark.parametrize(
    "rule", [BRP(), BRP(label_rate=0.5, stepwise=True)], ids=["constant signal", "signal step by step"]
)
def test_traces_equal_full_credit_where_the_membrane_is_a_leaky_sum(reset: str, build, inputs, rule) -> None:
    net = build(lambda: lif(reset))
    x, labels = batch(steps=9, inputs=inputs, dtype=torch.float64)
    torch.manual_seed(0)
    expected = full(net, rule, x, labels)
    torch.manual_seed(0)
    with attach(net, rule, num_classes=K, credit="trace", generator=seeded()) as brp:
        net.zero_grad()
        brp.reset()
        brp.teach(labels, steps=len(x))
        run(net, x)
    got = grads(net)
    last = str(len(net) - 2)
    assert got.keys() == expected.keys()
    for name in got:
        if not name.startswith(last):  # the output layer learns from its rate so far: see below
            assert expected[name].abs().sum() > 0
            torch.testing.assert_close(got[name], expected[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("credit", ["instant", "trace"])
def test_the_output_layer_learns_from_its_rate_so_far(credit: str) -> None:
    net = dense(lif)
    x, labels = batch(steps=9, dtype=torch.float64)
    got = online(net, BRP(), x, labels, credit)
    with torch.no_grad():
        hidden = run(net[:5], reset_and_return(net, x))
    reset_state(net)
    net.zero_grad()
    objective, total, state = torch.zeros(()).double(), torch.zeros(len(labels), K).double(), net[6]
    onehot = F.one_hot(labels, K).double()
    for t, x_t in enumerate(hidden):
        if credit == "instant":
            state.mem = state.mem.detach()
        spk = state(net[5](x_t))
        total = total + spk.detach()
        error = 2 * (total / (t + 1) - onehot) / onehot.numel() / len(x)  # ∂/∂y of the mean squared error, over T
        objective = objective + (error * spk).sum()
    objective.backward()
    torch.testing.assert_close(got["5.weight"], net[5].weight.grad)
    torch.testing.assert_close(got["5.bias"], net[5].bias.grad)


def reset_and_return(net: nn.Module, x: Tensor) -> Tensor:
    reset_state(net)
    return x


@pytest.mark.parametrize("neuron", STEPWISE)
def test_instant_credit_is_the_gradient_with_states_detached(neuron: str) -> None:
    """Every neuron that runs step by step, also where its forward pass must not change."""

    def build() -> nn.Sequential:
        torch.manual_seed(2)
        make = STEPWISE[neuron]
        parts = [
            nn.Linear(6, 8),
            make(8, init_hidden=True),
            Spikes(),
            nn.Linear(8, K),
            make(K, init_hidden=True),
            Spikes(),
        ]
        return spread_linear(nn.Sequential(*parts))

    x, labels = batch(steps=6)
    net, twin = build(), build()
    outputs = []
    with attach(net, BRP(), num_classes=K, credit="instant", generator=seeded()) as brp:
        brp.reset()
        brp.teach(labels, steps=len(x))
        outputs = run(net, x)
        delta = brp.feedback.matrix("1", (8,))[labels] / len(labels)
    assert torch.equal(outputs, run(twin, x))
    reset_state(twin)
    twin.zero_grad()
    for x_t in x:
        (delta * twin[2](twin[1](twin[0](x_t)))).sum().backward()
        for name, value in [*vars(twin[1]).items(), *twin[1]._buffers.items()]:
            if isinstance(value, Tensor) and value.grad_fn is not None:
                value.detach_()
            elif name == "_spikes":
                for spikes in value:
                    spikes.detach_()
    for name in ("0.weight", "0.bias"):
        torch.testing.assert_close(grads(net)[name], grads(twin)[name])


class Spikes(nn.Module):
    def forward(self, out: Tensor | tuple[Tensor, ...]) -> Tensor:
        return out[0] if isinstance(out, tuple) else out


def spread_linear(net: nn.Sequential) -> nn.Sequential:
    for module in net.modules():
        if isinstance(module, nn.Linear):
            spread(module)
    return net


@pytest.mark.parametrize("credit", ["instant", "trace"])
@pytest.mark.parametrize("tau_ref", [1, 3])
def test_outputs_are_unchanged_and_explicit_state_works(credit: str, tau_ref: int) -> None:
    net = spread(Looped(RefractoryLeaky, tau_ref=tau_ref))
    x, labels = batch(steps=8)
    expected = net(x)
    with attach(net, RewardPrediction(), num_classes=K, credit=credit) as brp:
        brp.teach(labels, steps=len(x))
        got = net(x)
    for a, b in zip(got, expected, strict=True):
        assert torch.equal(a, b)
        assert not a.requires_grad
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


@pytest.mark.parametrize("credit", ["instant", "trace"])
def test_memory_does_not_grow_with_the_number_of_steps(credit: str) -> None:
    """What is alive after a step is the same after 10 and after 100."""
    net = dense(lif)
    generator = torch.Generator().manual_seed(0)
    alive = {}
    with attach(net, BRP(), num_classes=K, credit=credit) as brp:
        brp.reset()
        brp.teach(torch.tensor([0, 1]), steps=100)
        for t in range(1, 101):
            net((torch.rand(2, 6, generator=generator) < 0.5).double())
            if t in (10, 100):
                gc.collect()
                alive[t] = sum(issubclass(type(o), Tensor) for o in gc.get_objects())
    # One tensor a step kept would be 90 more; a few come and go with whatever else this process has run.
    assert alive[100] < alive[10] + 45
    assert all(p.grad_fn is None for p in net.buffers())


def test_it_learns() -> None:
    net = spread(mlp())
    x, labels = batch(steps=10)
    optimizer, losses = torch.optim.Adam(net.parameters(), 0.02), []
    with attach(net, RewardPrediction(), num_classes=K, credit="trace", generator=seeded()) as brp:
        for _ in range(30):
            optimizer.zero_grad()
            brp.reset()
            brp.teach(labels, steps=len(x))
            losses.append(mse(run(net, x), labels).item())
            optimizer.step()
    assert losses[-1] < 0.5 * losses[0]


def test_output_only_leaves_hidden_layers_at_rest_and_eval_is_silent() -> None:
    net = spread(mlp())
    x, labels = batch()
    with attach(net, OutputOnly(), num_classes=K, credit="instant") as brp:
        net.eval()
        run(net, x)
        net.train()
        with torch.no_grad():
            run(net, x)
        brp.reset()
        brp.teach(labels, steps=len(x))
        run(net, x)
    assert list(grads(net)) == ["2.weight", "2.bias"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"propagation": Backprop()}, "Backprop takes the true gradient.*use credit='full', or OTTT"),
        ({"consolidation": StateDifference()}, "StateDifference needs the whole sequence.*use credit='full'"),
        ({"credit": "none"}, "credit must be 'full', 'instant' or 'trace', got 'none'"),
        ({"neuron": lambda: snn.Alpha(0.8, 0.5)}, "'1', a Alpha, has more to its memory.*use credit='instant'"),
        ({"neuron": lambda: snn.RLeaky(0.8, all_to_all=False)}, "'1', a RLeaky, learns one-to-one recurrent weights"),
        ({"neuron": lambda: snn.Leaky(torch.ones(8))}, "'1', a Leaky, has a decay for each neuron"),
        ({"neuron": lambda: snn.Leaky(0.5, reset_delay=False)}, "'1', a Leaky, resets within the step"),
        ({"neuron": lambda: snn.LinearLeaky(0.5, 8, 8)}, "'1', a LinearLeaky, runs a whole sequence.*credit='full'"),
    ],
)
def test_what_cannot_be_learned_online_is_told_at_once(options: dict, message: str) -> None:
    neuron = options.pop("neuron", RefractoryLeaky)
    net = nn.Sequential(nn.Linear(6, 8), neuron(), nn.Linear(8, K), RefractoryLeaky())
    settings = {"propagation": BRP(), "credit": "trace", "num_classes": K} | options
    with pytest.raises(ValueError, match=message):
        attach(net, **settings)


def test_wrong_calls_are_told() -> None:
    net = spread(mlp())
    x, labels = batch()
    with attach(net, BRP(), num_classes=K, credit="instant") as brp:
        with pytest.raises(RuntimeError, match=r"call \.teach\(labels, steps=T\) before"):
            net(x[0])
        with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
            brp.teach(labels, steps=0)
        brp.reset()
        brp.teach(labels, steps=2)
        with pytest.raises(RuntimeError, match="'1' ran step 3 of a sequence of 2"):
            run(net, x)
        brp.reset()
        brp.teach(labels[:2], steps=5)
        with pytest.raises(ValueError, match="'1' ran 4 samples, but there are 2 labels"):
            run(net, x)
