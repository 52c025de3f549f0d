"""BRPTrainer: steps, epochs, evaluation, and what it does with bad batches."""

from __future__ import annotations

import copy

import pytest
import snntorch as snn
import torch
import torch.nn.functional as F
from prototypes import prototypes
from torch import nn
from torch.utils.data import TensorDataset

from snntorch_brp import BRP, Backprop, BRPTrainer, ErrorProjection, OutputOnly, RateEncoder, attach
from snntorch_brp.data.loader import batches
from snntorch_brp.models import mlp
from snntorch_brp.sequence import unroll
from snntorch_brp.training import Callback, EpochResult, StepResult, rate_mse


def trainer_of(propagation: object = None, **options: object) -> BRPTrainer:
    torch.manual_seed(0)
    net = mlp([20, 30, 3])
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    options = {"num_classes": 3, "encoder": RateEncoder(8), "optimizer": optimizer} | options
    return BRPTrainer(net, propagation=propagation, **options)  # type: ignore[arg-type]


class Looping(nn.Module):
    """A network that loops over time itself and returns spikes and membranes, as in snnTorch's tutorials."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(20, 30), snn.Leaky(beta=0.9)
        self.fc2, self.lif2 = nn.Linear(30, 3), snn.Leaky(beta=0.9)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mem1, mem2 = self.lif1.reset_mem(), self.lif2.reset_mem()
        record = []
        for x_t in x:
            spk1, mem1 = self.lif1(self.fc1(x_t), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            record.append((spk2, mem2))
        spikes, membranes = zip(*record, strict=True)
        return torch.stack(spikes), torch.stack(membranes)


@pytest.mark.parametrize("rule", [BRP(), ErrorProjection(), Backprop()])
def test_fit_learns_a_task(rule: object) -> None:
    trainer = trainer_of(rule)
    before = trainer.evaluate(batches(prototypes(100, seed=1), 40))
    results = trainer.fit(
        batches(prototypes(300), 20, shuffle=True),
        epochs=6,
        validation=batches(prototypes(100, seed=1), 40),
        progress=False,
    )
    assert before.accuracy < 0.6  # three classes, untrained
    assert results[-1].validation.accuracy > 0.95
    assert results[-1].loss < results[0].loss


def test_step_is_attach_plus_the_optimizer() -> None:
    """One trainer step equals the same step written out with attach, bit for bit."""
    trainer = trainer_of(BRP(), encoder=None, engine="attach", generator=torch.Generator().manual_seed(4))
    net = copy.deepcopy(trainer.net)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    x, labels = (torch.rand(8, 5, 20) < 0.5).float(), torch.tensor([0, 1, 2, 0, 1])
    with attach(net, BRP(), num_classes=3, generator=torch.Generator().manual_seed(4)) as brp:
        for _ in range(3):
            optimizer.zero_grad()
            spikes = unroll(net, x)
            loss = F.mse_loss(spikes.mean(0), F.one_hot(labels, 3).float())
            brp.backward(loss, labels)
            optimizer.step()
            result = trainer.step(x, labels)
            assert result.loss == loss.item()
    for ours, theirs in zip(trainer.net.parameters(), net.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_last_partial_batch_counts() -> None:
    seen: list[StepResult] = []

    class Watch(Callback):
        def on_step_end(self, trainer: BRPTrainer, result: StepResult) -> None:
            seen.append(result)

    trainer = trainer_of()
    trainer.fit(batches(prototypes(45), 20), epochs=1, callbacks=[Watch()], progress=False)
    assert [step.count for step in seen] == [20, 20, 5]
    evaluation = trainer.evaluate(batches(prototypes(45), 20))
    assert evaluation.count == 45
    # The mean over samples does not depend on how they are batched (float32 rounding; the spikes are the same
    # because every pixel here is 0 or 1, which eq. 3 encodes without chance).
    certain = TensorDataset((torch.rand(45, 20) < 0.5).float(), torch.arange(45) % 3)
    one, many = (trainer.evaluate(batches(certain, size)) for size in (45, 7))
    assert one.loss == pytest.approx(many.loss, rel=1e-6)
    assert torch.equal(one.confusion, many.confusion)


def test_evaluation_counts_what_predict_says() -> None:
    trainer = trainer_of()
    x, labels = prototypes(60).tensors
    predicted = trainer.predict(x)
    evaluation = trainer.evaluate([(x, labels)])
    expected = torch.zeros(3, 3, dtype=torch.long)
    for true, taken in zip(labels.tolist(), predicted.tolist(), strict=True):
        expected[true, taken] += 1
    assert torch.equal(evaluation.confusion, expected)
    assert evaluation.accuracy == int((predicted == labels).sum()) / 60


def test_evaluation_can_be_repeated_and_leaves_no_trace() -> None:
    trainer = trainer_of()
    trainer.net.train()
    loader = batches(prototypes(60), 20)
    random_state = torch.get_rng_state()
    weights = copy.deepcopy(trainer.net.state_dict())
    first, second = trainer.evaluate(loader), trainer.evaluate(loader)
    assert first.loss == second.loss
    assert torch.equal(torch.get_rng_state(), random_state)
    assert trainer.net.training
    assert all(torch.equal(value, trainer.net.state_dict()[key]) for key, value in weights.items())


def test_other_networks_in_the_process_keep_their_state() -> None:
    other = mlp([20, 30, 3])
    other(torch.ones(4, 20))
    mem = other.fc1_lif.mem
    trainer_of().step(torch.rand(5, 20), torch.tensor([0, 1, 2, 0, 1]))
    assert other.fc1_lif.mem is mem


def test_a_network_that_loops_itself() -> None:
    torch.manual_seed(0)
    net = Looping()
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    trainer = BRPTrainer(net, num_classes=3, optimizer=optimizer, encoder=RateEncoder(8))
    results = trainer.fit(batches(prototypes(300), 20, shuffle=True), epochs=5, progress=False)
    assert results[-1].accuracy > 0.9


def test_output_only_leaves_the_hidden_layers_as_they_were() -> None:
    trainer = trainer_of(OutputOnly())
    before = copy.deepcopy(trainer.net.state_dict())
    trainer.step(*next(iter(batches(prototypes(20), 20))))
    after = trainer.net.state_dict()
    assert torch.equal(before["fc1.weight"], after["fc1.weight"])
    assert not torch.equal(before["fc2.weight"], after["fc2.weight"])


def test_the_scheduler_advances_with_every_step() -> None:
    net = mlp([20, 30, 3])
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    trainer = BRPTrainer(net, num_classes=3, optimizer=optimizer, scheduler=schedule, encoder=RateEncoder(4))
    trainer.fit(batches(prototypes(40), 20), epochs=1, progress=False)
    assert optimizer.param_groups[0]["lr"] == 0.25


def test_epoch_results_make_flat_rows() -> None:
    trainer = trainer_of()
    data = batches(prototypes(20), 20)
    (result,) = trainer.fit(data, epochs=1, validation=data, progress=False)
    assert isinstance(result, EpochResult)
    assert set(result.row()) == {
        "epoch", "loss", "accuracy", "validation_loss", "validation_accuracy",
    }  # fmt: skip


X, LABELS = torch.rand(4, 20), torch.tensor([0, 1, 2, 0])


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (X, torch.tensor([0, 1, 2, 3]), r"0\.\.2"),
        (X, torch.tensor([0, 1, -1, 2]), r"0\.\.2"),
        (X, LABELS.float(), "integers"),
        (X, LABELS[:3], "B=3"),
        (X, LABELS.view(2, 2), r"put attach\(net, rule, num_classes=K\) into a loop of your own"),
        (X.clone().index_fill_(0, torch.tensor([1]), float("nan")), LABELS, "NaN or inf"),
        (X * float("inf"), LABELS, "NaN or inf"),
        (X[:0], LABELS[:0], "non-empty"),
        (X[:0], LABELS, "empty batch"),
        (X.to(torch.uint8), LABELS, "floating point"),
    ],
)
def test_a_bad_batch_is_refused_and_changes_nothing(x: torch.Tensor, labels: torch.Tensor, message: str) -> None:
    trainer = trainer_of()
    weights = copy.deepcopy(trainer.net.state_dict())
    with pytest.raises(ValueError, match=message):
        trainer.step(x, labels)
    assert all(torch.equal(value, trainer.net.state_dict()[key]) for key, value in weights.items())
    assert all(not layer._forward_hooks for layer in trainer.net.modules())
    trainer.step(X, LABELS)  # and it goes on


def test_wrong_use_is_told() -> None:
    trainer = trainer_of(encoder=None)
    with pytest.raises(ValueError, match="RateEncoder"):
        trainer.step(X, LABELS)
    with pytest.raises(ValueError, match="at least one step"):
        unroll(trainer.net, torch.zeros(0, 4, 20))
    with pytest.raises(ValueError, match="epochs"):
        trainer.fit([], epochs=0)
    with pytest.raises(ValueError, match="no batches"):
        trainer.fit([], epochs=1, progress=False)
    with pytest.raises(ValueError, match="no batches"):
        trainer.evaluate([])
    with pytest.raises(ValueError, match="no spiking layer"):
        BRPTrainer(nn.Linear(2, 2), num_classes=2)
    wrong = BRPTrainer(mlp([20, 30, 4]), num_classes=3, encoder=RateEncoder(4))
    with pytest.raises(ValueError, match="K=3"):
        wrong.step(X, LABELS)


def test_rate_mse_is_the_mean_over_batch_and_classes() -> None:
    spikes = torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]])  # T = 2, one sample: y = (0.5, 0)
    assert rate_mse(spikes, torch.tensor([0])).item() == pytest.approx(0.125)
