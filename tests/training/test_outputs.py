"""What networks may end with, and what they may be taught by: population codes, readouts, losses of one's own."""

from __future__ import annotations

from typing import Any

import pytest
import snntorch.functional as SF
import torch
import torch.nn.functional as F
from networks import Looped, grads
from prototypes import prototypes
from torch import Tensor, nn

from snntorch_brp import BRP, Backprop, BRPTrainer, ErrorProjection, RateEncoder, RefractoryLeaky
from snntorch_brp.data.loader import batches
from snntorch_brp.models import mlp
from snntorch_brp.training import rate_mse

ENGINES = pytest.mark.parametrize("engine", ["attach", "fused"])
X, LABELS = torch.rand(8, 20, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3


def trainer_of(net: nn.Module, **options: Any) -> BRPTrainer:
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    return BRPTrainer(net, num_classes=3, **{"encoder": RateEncoder(steps=8), "optimizer": optimizer, **options})


def fitted(trainer: BRPTrainer) -> float:
    trainer.fit(batches(prototypes(300), 20, shuffle=True), epochs=5, progress=False)
    return trainer.evaluate(batches(prototypes(100, seed=1), 40)).accuracy


@ENGINES
@pytest.mark.parametrize("rule", [BRP(), ErrorProjection()])
def test_a_population_code_is_read_by_the_mean_of_each_class(engine: str, rule: Any) -> None:
    torch.manual_seed(0)
    trainer = trainer_of(mlp([20, 30, 12]), engine=engine, propagation=rule)
    assert fitted(trainer) > 0.9  # three classes, of which chance knows a third
    spikes = trainer.run(trainer.encode(X, seed=0))
    assert spikes.shape == (8, 8, 12)
    by_hand = torch.stack([spikes.mean(0)[:, 4 * k : 4 * (k + 1)].mean(1) for k in range(3)], dim=1)
    assert torch.equal(trainer.predict(X), by_hand.argmax(1))
    assert trainer.loss(spikes, LABELS) == pytest.approx(float(F.mse_loss(by_hand, F.one_hot(LABELS, 3).float())))


@pytest.mark.parametrize("rule", [BRP(), ErrorProjection(), Backprop()])
def test_both_engines_give_a_population_the_same_gradients(rule: Any) -> None:
    found = []
    for engine in ("attach", "fused"):
        torch.manual_seed(0)
        net = mlp([20, 30, 12])
        trainer = trainer_of(net, engine=engine, propagation=rule, generator=torch.Generator().manual_seed(1))
        torch.manual_seed(2)
        found.append((trainer.step(X, LABELS), grads(net)))
    (one, gradients), (other, others) = found
    assert one.loss == pytest.approx(other.loss, rel=1e-6)
    assert one.correct == other.correct
    for name, gradient in gradients.items():  # float32 sums in another order
        torch.testing.assert_close(others[name], gradient, rtol=1e-4, atol=1e-6)


@ENGINES
def test_neurons_that_cannot_be_shared_out_are_refused(engine: str) -> None:
    with pytest.raises(ValueError, match=r"K=3\], or a multiple"):
        trainer_of(mlp([20, 30, 7]), engine=engine).step(X, LABELS)


def with_readout() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 30), RefractoryLeaky(init_hidden=True), nn.Linear(30, 3))


def cross_entropy(given: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(given.mean(0), labels)


@pytest.mark.parametrize("output", [None, "a name", "a module"])
@pytest.mark.parametrize("rule", [BRP(), ErrorProjection()])
def test_a_readout_that_does_not_spike_is_an_output(output: str | None, rule: Any) -> None:
    net = with_readout()
    named = {"a name": "2", "a module": net[2], None: None if not rule.needs_output else net[2]}[output]
    trainer = trainer_of(net, loss=cross_entropy, output=named, propagation=rule)
    assert fitted(trainer) > 0.9
    assert torch.equal(trainer.predict(X), trainer.run(trainer.encode(X, seed=0)).mean(0).argmax(1))


def test_an_output_may_be_named_by_its_module() -> None:
    net = mlp([20, 30, 3])
    last = list(net)[-1]
    assert trainer_of(net, output=last, engine="fused").step(X, LABELS).count == 8
    looped = Looped()
    trainer = BRPTrainer(looped, num_classes=3, encoder=RateEncoder(steps=5), output=looped.lif3)
    assert trainer.step(torch.rand(4, 6), torch.arange(4) % 3).count == 4


@ENGINES
@pytest.mark.parametrize(
    "loss",
    [
        lambda spikes, labels: F.cross_entropy(spikes.sum(0), labels),
        lambda spikes, labels: ((spikes.mean(0) - 0.5 * F.one_hot(labels, 3)) ** 2).sum(1).mean(),
        SF.ce_rate_loss(),
        SF.mse_count_loss(correct_rate=0.8, incorrect_rate=0.2),
    ],
    ids=["cross entropy", "one's own", "ce_rate_loss", "mse_count_loss"],
)
def test_losses_of_ones_own_teach_under_both_engines(loss: Any, engine: str) -> None:
    torch.manual_seed(0)
    assert fitted(trainer_of(mlp([20, 30, 3]), loss=loss, engine=engine)) > 0.6  # chance knows a third


def test_a_loss_on_the_outputs_own_weights_is_not_lost_by_the_fused_engine() -> None:
    """That engine takes the gradient of the spikes alone; what else a loss depends on is for attach."""
    found = []
    for engine in ("auto", "attach"):
        torch.manual_seed(0)
        net = mlp([20, 30, 3])
        loss = lambda spikes, labels, net=net: rate_mse(spikes, labels) + net.fc2.weight.square().sum()  # noqa: E731
        trainer = trainer_of(net, loss=loss, engine=engine, generator=torch.Generator().manual_seed(1))
        torch.manual_seed(2)
        trainer.step(X, LABELS)
        found.append(grads(net))
    torch.testing.assert_close(found[0], found[1])
    torch.manual_seed(0)
    net = mlp([20, 30, 3])
    hidden = trainer_of(net, loss=lambda spikes, labels: rate_mse(spikes, labels) + net.fc1.weight.square().sum())
    with pytest.raises(RuntimeError, match="fc1_lif"):
        hidden.step(X, LABELS)
    with pytest.raises(ValueError, match="depends on weights"):
        trainer_of(net, loss=hidden.loss, engine="fused").step(X, LABELS)


@pytest.mark.parametrize(
    "labels",
    [torch.rand(8, 3), torch.rand(8), torch.zeros(8, 8, dtype=torch.long), torch.rand(8, 8, 3)],
    ids=["a target a class", "regression", "one a step", "a signal"],
)
def test_what_is_no_classification_is_told_the_way(labels: Tensor) -> None:
    trainer = trainer_of(mlp([20, 30, 3]))
    with pytest.raises(ValueError, match=r"trains classifiers.* attach\(net, rule, num_classes=K\)"):
        trainer.step(X, labels)


@pytest.mark.filterwarnings("error")
def test_images_of_bytes_are_told_once() -> None:
    encode = RateEncoder(steps=4)
    with pytest.warns(UserWarning, match=r"up to 255, and encodes intensities in 0\.\.1.*x / 255"):
        encode(torch.full((2, 5), 255.0))
    encode(torch.full((2, 5), 255.0))  # once is enough: looking waits for a GPU
    RateEncoder(steps=4)(torch.rand(2, 5) * 1.1)
    RateEncoder(steps=4, alpha=0.01)(torch.rand(2, 5))  # a small α is a choice
    assert encode == RateEncoder(steps=4)
