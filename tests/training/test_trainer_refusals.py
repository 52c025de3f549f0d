"""Training that would not train is refused or told, and a state is loaded as a whole or not at all."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snntorch_brp import BRPTrainer, Callback, DirectEncoder, RateEncoder, RefractoryLeaky
from snntorch_brp.models import mlp

X, LABELS = torch.rand(8, 20, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 5


def trainer_of(seed: int = 0, **options: Any) -> BRPTrainer:
    torch.manual_seed(seed)
    return BRPTrainer(mlp([20, 30, 5]), num_classes=5, **{"encoder": RateEncoder(steps=4), **options})


def test_an_encoder_that_returns_nothing_is_told() -> None:
    trainer = trainer_of(encoder=lambda x: None)
    with pytest.raises(ValueError, match=r"the encoder must give spikes .* NoneType"):
        trainer.fit([(X, LABELS)], epochs=1, progress=False)


@pytest.mark.parametrize(
    ("batch", "message"),
    [(None, "yielded None"), ((X, LABELS, X), "got 3 things"), (X, "got Tensor"), ({"x": X}, "got dict")],
)
def test_a_loader_of_something_else_than_pairs_is_told(batch: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trainer_of().fit([(X, LABELS), batch, (X, LABELS)], epochs=1, progress=False)
    with pytest.raises(ValueError, match=message):
        trainer_of().evaluate([(X, LABELS), batch])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": torch.optim.Adam}, "optimizer must be one of PyTorch's"),
        ({"encoder": RateEncoder}, r"encoder must be a function of a batch, such as RateEncoder\(steps=20\)"),
        ({"encoder": 5}, "encoder must be a function"),
    ],
)
def test_things_of_the_wrong_kind_are_told_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        trainer_of(**options)


@pytest.mark.parametrize("callbacks", [[object()], [Callback], Callback()])
def test_callbacks_that_are_none_are_told(callbacks: Any) -> None:
    with pytest.raises(TypeError, match="callbacks must be a list of objects of a subclass of Callback"):
        trainer_of().fit([(X, LABELS)], epochs=1, callbacks=callbacks, progress=False)


@pytest.mark.filterwarnings("ignore")  # torch warns of both kinds
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.nested.nested_tensor([X[0], X[1]]), "got a nested one: use x.to_padded_tensor"),
        (lambda: torch.quantize_per_tensor(X[:2], 0.1, 0, torch.quint8), "got a quantized one: use x.dequantize"),
    ],
)
def test_batches_of_odd_kinds_are_told(make: Callable[[], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trainer_of().step(make(), LABELS[:2])


def test_direct_coding_wants_floating_point() -> None:
    with pytest.raises(ValueError, match=r"x must be floating point, got torch.uint8: use x.float\(\) / 255"):
        trainer_of(encoder=DirectEncoder(steps=4)).step((X * 255).byte(), LABELS)


def own_neurons(width: int) -> nn.Sequential:
    lif = RefractoryLeaky
    return nn.Sequential(nn.Linear(20, width), lif(init_hidden=True), nn.Linear(width, 5), lif(init_hidden=True))


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
@pytest.mark.parametrize("engine", ["attach", "auto"])
def test_a_layer_without_neurons_is_told(engine: Any) -> None:
    trainer = BRPTrainer(own_neurons(0), num_classes=5, engine=engine, encoder=RateEncoder(steps=4))
    with pytest.raises(ValueError, match="neurons"):
        trainer.step(X, LABELS)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize("name", ["threshold", "beta"])
def test_a_constant_that_is_not_finite_is_told(name: str, value: float) -> None:
    trainer = trainer_of()
    getattr(trainer.net.get_submodule("fc1_lif"), name).fill_(value)
    for call in (lambda: trainer.predict(X), lambda: trainer.evaluate([(X, LABELS)])):
        with pytest.raises(ValueError, match=f"the {name} of layer 'fc1_lif' is not finite"):
            call()
    with pytest.raises(ValueError, match=f"layer 'fc1_lif' cannot be trained: its {name} is not finite"):
        BRPTrainer(trainer.net, num_classes=5)


def test_a_trainer_can_be_pickled() -> None:
    trainer = BRPTrainer(own_neurons(30), num_classes=5, encoder=RateEncoder(steps=4))
    again = pickle.loads(pickle.dumps(trainer))
    results = []
    for one in (trainer, again):
        torch.manual_seed(3)
        results.append((one.step(X, LABELS), one.net[0].weight.grad))
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])


def test_an_epoch_in_which_nothing_moved_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    net = mlp([20, 30, 5])
    trainer = BRPTrainer(
        net, num_classes=5, encoder=RateEncoder(steps=4), optimizer=torch.optim.SGD(net.parameters(), lr=0.0)
    )
    with caplog.at_level(logging.WARNING):
        trainer.fit([(X, LABELS)], epochs=3, progress=False)
    assert sum("no weight has moved" in record.message for record in caplog.records) == 1


def test_an_optimizer_of_another_network_is_refused_and_of_a_part_is_told() -> None:
    net = mlp([20, 30, 5])
    with pytest.raises(ValueError, match="no parameter of this network"):
        BRPTrainer(net, num_classes=5, optimizer=torch.optim.Adam(mlp([20, 30, 5]).parameters()))
    part = torch.optim.Adam(net.get_submodule("fc1").parameters())
    with pytest.warns(UserWarning, match=r"the optimizer lacks fc2\.weight, fc2\.bias"):
        BRPTrainer(net, num_classes=5, optimizer=part)


def test_a_weight_that_the_optimizer_has_never_seen_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    trainer = trainer_of()
    trainer.step(X, LABELS)
    trainer.net.fc2 = nn.Linear(30, 5)
    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            trainer.step(X, LABELS)
    told = [record.message for record in caplog.records if "the optimizer lacks" in record.message]
    assert len(told) == 1
    assert "the optimizer lacks fc2.weight, fc2.bias, put into the network after it was made" in told[0]


@pytest.mark.parametrize("engine", ["attach", "fused"])
def test_what_a_caller_has_switched_on_changes_no_gradient(engine: str) -> None:
    gradients = []
    for around in (nullcontext(), torch.autocast("cpu", torch.bfloat16), torch.no_grad()):
        trainer = trainer_of(engine=engine, encoder=lambda x: (x > 0.3).float().expand(5, 8, 20))
        with around:
            trainer.step(X, LABELS)
        gradients.append([p.grad for p in trainer.net.parameters()])
    for plain, *others in zip(*gradients, strict=True):
        assert all(torch.equal(plain, other) for other in others)
    with torch.inference_mode(), pytest.raises(ValueError, match=r"inside torch\.inference_mode"):
        trainer.step(X, LABELS)


@pytest.mark.parametrize("engine", ["attach", "fused"])
def test_what_made_a_batch_learns_nothing(engine: str) -> None:
    front = torch.ones(20, requires_grad=True)
    trainer = trainer_of(engine=engine, encoder=lambda x: (front * (x > 0.3)).expand(5, 8, 20))
    x = X.clone().requires_grad_()
    trainer.step(x, LABELS)
    assert x.grad is None
    assert front.grad is None


@pytest.mark.parametrize("engine", ["attach", "fused"])
def test_a_loss_may_write_into_the_spikes_that_it_is_given(engine: str) -> None:
    gradients = []
    for loss in (lambda s, y: (s * 2).square().mean(), lambda s, y: s.mul_(2).square().mean()):
        trainer = trainer_of(engine=engine, loss=loss, encoder=lambda x: (x > 0.3).float().expand(5, 8, 20))
        trainer.step(X, LABELS)
        gradients.append([p.grad for p in trainer.net.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_what_wants_a_closure_or_a_metric_is_refused() -> None:
    net = mlp([20, 30, 5])
    with pytest.raises(ValueError, match="LBFGS"):
        BRPTrainer(net, num_classes=5, optimizer=torch.optim.LBFGS(net.parameters()))
    optimizer = torch.optim.Adam(net.parameters())
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    with pytest.raises(ValueError, match="ReduceLROnPlateau"):
        BRPTrainer(net, num_classes=5, optimizer=optimizer, scheduler=plateau)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int16])
def test_labels_of_any_integer_dtype_are_taken(dtype: torch.dtype) -> None:
    usual, odd = trainer_of().step(X, LABELS), trainer_of().step(X, LABELS.to(dtype))
    assert usual == odd


@pytest.mark.parametrize("epochs", [1.5, True, "2", 0])
def test_epochs_are_whole(epochs: Any) -> None:
    with pytest.raises(ValueError, match="epochs must be a whole number"):
        trainer_of().fit([(X, LABELS)], epochs=epochs, progress=False)


def test_fit_within_fit_is_refused() -> None:
    class Again(Callback):
        def on_step_end(self, trainer: Any, result: object) -> None:
            trainer.fit([(X, LABELS)], epochs=1, progress=False)

    trainer = trainer_of()
    with pytest.raises(ValueError, match="running already"):
        trainer.fit([(X, LABELS)], epochs=1, callbacks=[Again()], progress=False)
    assert len(trainer.fit([(X, LABELS)], epochs=1, progress=False)) == 1


@pytest.mark.parametrize("engine", ["attach", "fused"])
@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda spikes, labels: spikes.mean(0), r"scalar tensor, got shape \(8, 5\)"),
        (lambda spikes, labels: 3.0, "scalar tensor, got float"),
        (lambda spikes, labels: torch.tensor(1.0), "does not depend on the network"),
    ],
    ids=["no scalar", "a float", "no graph"],
)
def test_losses_that_teach_nothing_are_told_alike(engine: str, loss: Any, message: str) -> None:
    trainer = trainer_of(engine=engine, loss=loss)
    with pytest.raises(ValueError, match=message):
        trainer.step(X, LABELS)


def broken(state: dict[str, Any]) -> dict[str, dict[str, Any]]:
    progress, random = state["progress"], state["random"]
    weights = dict(state["network"])
    short = {**weights, "fc2.weight": torch.zeros(5, 29)}
    bad = {**weights, "fc1.weight": torch.full((30, 20), float("nan"))}
    optimizer = copy.deepcopy(state["optimizer"])
    optimizer["state"] = {0: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(3), "exp_avg_sq": torch.zeros(3)}}
    return {
        "moments of another shape": {**state, "optimizer": optimizer},
        "no feedback": {**state, "feedback": {}},
        "optimizer None": {**state, "optimizer": None},
        "progress of another version": {**state, "progress": {**progress, "x": 1}},
        "progress below zero": {**state, "progress": {**progress, "step": -1}},
        "no progress": {key: value for key, value in state.items() if key != "progress"},
        "no random numbers": {**state, "random": {}},
        "random numbers of a wrong size": {**state, "random": {**random, "torch": torch.zeros(3, dtype=torch.uint8)}},
        "a generator more": {**state, "random": {**random, "generators": [torch.zeros(3)]}},
        "no order": {**state, "order": None},
        "order of a wrong kind": {**state, "order": {"generator": 3, "position": None}},
        "weights of another shape": {**state, "network": short},
        "weights that are not finite": {**state, "network": bad},
        "nothing": {},
    }


@pytest.mark.parametrize("case", list(broken(trainer_of().state_dict())))
def test_a_state_is_loaded_as_a_whole_or_not_at_all(case: str) -> None:
    source, trainer, twin = trainer_of(0), trainer_of(1), trainer_of(1)
    source.step(X, LABELS)
    for each in (trainer, twin):
        torch.manual_seed(5)
        each.step(X, LABELS)
    state = broken(copy.deepcopy(source.state_dict()))[case]
    torch.manual_seed(6)
    numbers = torch.get_rng_state()
    with pytest.raises(ValueError, match="does not fit this trainer"):
        trainer.load_state_dict(state)
    assert torch.equal(torch.get_rng_state(), numbers)
    same(trainer.net.state_dict(), twin.net.state_dict())
    same(trainer.attached.feedback.state_dict(), twin.attached.feedback.state_dict())
    assert trainer.progress == twin.progress
    results = []
    for each in (trainer, twin):
        torch.manual_seed(7)
        results.append(each.step(X, LABELS))
    assert results[0] == results[1]
    same(trainer.net.state_dict(), twin.net.state_dict())  # the optimizer's moments are its own, too


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_a_layer_is_named_once_and_not_every_epoch(caplog: pytest.LogCaptureFixture) -> None:
    net = mlp([20, 30, 5])
    with torch.no_grad():
        assert isinstance(net.get_submodule("fc1"), nn.Linear)
        for p in net.get_submodule("fc1").parameters():
            p.fill_(-1.0)
    trainer = BRPTrainer(net, num_classes=5, encoder=RateEncoder(steps=4))
    with caplog.at_level(logging.WARNING):
        trainer.fit([(X, LABELS)], epochs=4, progress=False)
    assert sum("layer 'fc1_lif' is silent" in record.message for record in caplog.records) == 1


@pytest.mark.parametrize("engine", ["attach", "auto"])
def test_a_network_that_mixes_its_samples_is_told(engine: str) -> None:
    mixing = (nn.Flatten(0, 1), nn.Unflatten(0, (1, -1)))  # [B, 30] to [1, 30 B]
    lifs = [RefractoryLeaky(beta=0.5, init_hidden=True) for _ in range(2)]
    net = nn.Sequential(nn.Linear(20, 30), lifs[0], *mixing, nn.Linear(30 * len(X), 5), lifs[1])
    trainer = BRPTrainer(net, num_classes=5, encoder=RateEncoder(steps=4), engine=engine)
    for call in (lambda: trainer.fit([(X, LABELS)], epochs=1, progress=False), lambda: trainer.evaluate([(X, LABELS)])):
        with pytest.raises(ValueError, match="spikes of 1 samples"):
            call()
    one_step = BRPTrainer(Looped(net), num_classes=5, encoder=RateEncoder(steps=1), engine=engine, loops_inside=True)
    with pytest.raises(ValueError, match=r"spikes of 1 samples, and there are labels of shape \(8,\)"):
        one_step.fit([(X, LABELS)], epochs=1, progress=False)


class Looped(nn.Module):
    """A network that runs all time steps itself."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.net(step) for step in x])
