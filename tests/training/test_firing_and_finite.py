"""Nothing goes wrong in silence: numbers that are not finite, layers that never or always fire."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

import pytest
import torch
from networks import K, Looped, batch, mlp, spread
from torch import nn

from snntorch_brp import BRP, BRPTrainer, OutputOnly, RefractoryLeaky, firing_message
from snntorch_brp.finite import NotFinite
from snntorch_brp.firing import fault_of, firing_shares
from snntorch_brp.training import guard, rate_mse
from snntorch_brp.training.callbacks import Callback
from snntorch_brp.training.checkpoint import Checkpoints, read_checkpoint
from snntorch_brp.training.results import StepResult

ENGINES = pytest.mark.parametrize("engine", ["attach", "fused"])


def trainer_of(engine: str, net: nn.Module | None = None, **options: object) -> BRPTrainer:
    net = net or spread(mlp(hidden=(8, 7)))
    options = {"optimizer": torch.optim.SGD(net.parameters(), lr=0.01)} | options
    return BRPTrainer(net, num_classes=K, engine=engine, **options)  # type: ignore[arg-type]


class Spoil(Callback):
    """Puts something into a tensor after a step, as an overflow would."""

    def __init__(self, tensor: torch.Tensor, value: float, step: int) -> None:
        self.tensor, self.value, self.step = tensor, value, step

    def on_step_end(self, trainer: BRPTrainer, result: StepResult) -> None:
        if trainer.progress.step == self.step:
            self.tensor.data.view(-1)[0] = self.value


@ENGINES
def test_a_weight_that_is_not_finite_stops_the_run(engine: str, tmp_path: Path) -> None:
    trainer = trainer_of(engine)
    spoil = Spoil(trainer.net[2].weight, float("nan"), step=5)
    data = [batch(seed=i) for i in range(4)]
    with pytest.raises(NotFinite, match=r"step 6 \(epoch 2, batch 2\): the membrane of layer '3' is not finite"):
        trainer.fit(data, epochs=3, callbacks=[Checkpoints(tmp_path), spoil], progress=False)
    (kept,) = Checkpoints(tmp_path).paths()
    state = read_checkpoint(kept)["trainer"]
    assert state["progress"]["step"] == 4
    assert all(value.isfinite().all() for value in state["network"].values())


@pytest.mark.parametrize("what", ["a weight", "an output weight", "the input"])
@pytest.mark.parametrize("engine", ["attach", "fused", "a loop inside"])
def test_what_is_not_finite_is_not_tested_either(engine: str, what: str) -> None:
    """A NaN never spikes, and an argmax hides it: neither loss nor class shows what came of it."""
    net = spread(Looped() if engine == "a loop inside" else mlp(hidden=(8, 7)))
    x, labels = batch()
    if what == "the input":
        x = x.index_fill(2, torch.tensor([1]), float("nan"))
    else:
        list(net.parameters())[0 if what == "a weight" else -2].data[0, 0] = float("nan")
    trainer = trainer_of("attach" if engine == "a loop inside" else engine, net, encoder=lambda given: x)
    given = torch.zeros(len(labels), 6), labels
    with pytest.raises(NotFinite, match="is not finite"):
        trainer.evaluate([given])
    with pytest.raises(NotFinite, match="is not finite"):
        trainer.predict(given[0])


@ENGINES
def test_a_step_that_overflows_names_the_weight(engine: str) -> None:
    net = spread(mlp())
    loss = lambda spikes, labels: 1e6 * rate_mse(spikes, labels)  # noqa: E731
    trainer = trainer_of(engine, net, loss=loss, optimizer=torch.optim.SGD(net.parameters(), lr=3e38))
    with pytest.raises(NotFinite, match=r"step \d+ .*the weight of '\d\.(weight|bias)' is not finite"):
        trainer.fit([batch(seed=i) for i in range(20)], epochs=3, progress=False)


@ENGINES
def test_a_loss_that_is_not_finite_stops_the_run(engine: str) -> None:
    trainer = trainer_of(engine, loss=lambda spikes, labels: spikes.sum() * float("inf"))
    weights = copy.deepcopy(trainer.net.state_dict())
    with pytest.raises(NotFinite, match=r"step 1 \(epoch 1, batch 1\): loss is (nan|inf)"):
        trainer.fit([batch()], epochs=1, progress=False)
    assert all(torch.equal(value, trainer.net.state_dict()[key]) for key, value in weights.items())


class Infinite(BRP):
    """A rule that sends too much."""

    def signal(self, *args: object, **kwargs: object) -> torch.Tensor:
        return super().signal(*args, **kwargs) * float("inf")  # type: ignore[arg-type]


@ENGINES
def test_a_gradient_that_is_not_finite_leaves_the_weights(engine: str) -> None:
    trainer = trainer_of(engine, propagation=Infinite())
    weights, numbers = copy.deepcopy(trainer.net.state_dict()), torch.get_rng_state()
    with pytest.raises(NotFinite, match=r"the gradient of '0\.weight' is not finite, in \d+ of 48 places"):
        trainer.step(*batch())
    assert all(torch.equal(value, trainer.net.state_dict()[key]) for key, value in weights.items())
    assert torch.equal(torch.get_rng_state(), numbers)


@ENGINES
@pytest.mark.parametrize(("bias", "fault", "steps"), [(-100.0, "silent", 5), (100.0, "saturated", 10)])
def test_a_layer_that_cannot_learn_is_named_once_in_the_words_of_attach(
    engine: str, bias: float, fault: str, steps: int, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    net = spread(mlp(hidden=(8, 7)))
    net[2].bias.data.fill_(bias)
    trainer = trainer_of(engine, net, propagation=OutputOnly())
    with caplog.at_level(logging.WARNING, logger="snntorch_brp.training.guard"):
        trainer.fit([batch(steps=steps, seed=i) for i in range(5)], epochs=2, progress=False)
    assert [line for line in caplog.messages if "'3'" in line] == [f"epoch 1: {firing_message('3', fault)}"]
    assert not [line for line in caplog.messages if "'1'" in line]
    assert not [w for w in recwarn if "'3'" in str(w.message)]  # attach in one's own loop says it by a warning
    assert all(not module._forward_hooks for module in net.modules())


@ENGINES
def test_a_layer_that_is_well_is_looked_at_once(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking costs kernels, and on a GPU waiting: after the first step, in which all layers are well, nobody looks."""
    looked: list[int] = []

    def counted(rate: torch.Tensor) -> torch.Tensor:
        looked.append(trainer.progress.step)
        return firing_shares(rate)

    monkeypatch.setattr(guard, "firing_shares", counted)
    trainer = trainer_of(engine)
    trainer.fit([batch(seed=i) for i in range(8)], epochs=1, progress=False)
    assert looked == [1, 1, 1]  # three layers


def test_a_silent_layer_is_waited_for_ever_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    net = spread(mlp(hidden=(8, 7)))
    net[2].bias.data.fill_(-100.0)
    judged: list[int] = []

    def counted(alive: float, full: float) -> str | None:
        judged.append(trainer.progress.step)
        return fault_of(alive, full)

    monkeypatch.setattr(guard, "fault_of", counted)
    trainer = trainer_of("fused", net, propagation=OutputOnly())
    trainer.fit([batch(seed=i) for i in range(20)], epochs=1, progress=False)
    assert sorted(set(judged)) == [1, 2, 4, 8, 16, 20]  # of 20 steps in the epoch


def test_a_layer_that_fires_late_is_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    net = nn.Sequential(
        nn.Linear(1, 4), RefractoryLeaky(init_hidden=True), nn.Linear(4, K), RefractoryLeaky(init_hidden=True)
    )
    for p in net.parameters():
        p.data.fill_(0.3)
    x = [torch.zeros(4, 2, 1), torch.zeros(4, 2, 1), torch.ones(4, 2, 1)]  # silent, silent, fires
    trainer = trainer_of("fused", net, propagation=OutputOnly())
    trainer.fit([(x_i, torch.tensor([0, 1])) for x_i in x], epochs=1, progress=False)
    assert "'1'" not in caplog.text
