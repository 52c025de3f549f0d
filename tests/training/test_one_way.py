"""The trainer is finished when it is made, and has one way each to encode, to run and to observe."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import Looped
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import snntorch_brp
from snntorch_brp import BRPTrainer, Callback, RateEncoder
from snntorch_brp.analysis import analyse
from snntorch_brp.models import mlp
from snntorch_brp.training import Trainer

PACKAGE = Path(snntorch_brp.__file__).parent
X, LABELS = torch.rand(8, 6, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3


def trainer_of(net: nn.Module | None = None, **options: Any) -> BRPTrainer:
    torch.manual_seed(0)
    return BRPTrainer(net or mlp([6, 20, 3]), num_classes=3, **{"encoder": RateEncoder(steps=10), **options})


NETWORKS = pytest.mark.parametrize("net", [lambda: mlp([6, 20, 3]), Looped], ids=["one step a call", "loops itself"])


@NETWORKS
def test_predictions_are_what_running_the_encoded_batch_gives(net: Any) -> None:
    trainer = trainer_of(net())
    spikes = trainer.run(trainer.encode(X, seed=3))
    assert spikes.shape == (10, 8, 3)
    assert torch.equal(spikes.mean(0).argmax(1), trainer.predict(X, seed=3))


@NETWORKS
def test_what_is_observed_is_what_runs(net: Any) -> None:
    trainer = trainer_of(net())
    encoded = trainer.encode(X, seed=0)
    activity = trainer.observe(encoded)
    assert torch.equal(list(activity.values())[-1].spikes, trainer.run(encoded))
    counted = analyse(trainer.net, lambda: trainer.run(encoded))
    assert list(counted.layers) == list(activity)
    assert all(not module._forward_hooks for module in trainer.net.modules())


@pytest.mark.parametrize("generator", [None, torch.Generator().manual_seed(5)], ids=["torch's", "its own"])
def test_looking_leaves_every_source_of_noise_alone(generator: torch.Generator | None) -> None:
    trainer = trainer_of(encoder=RateEncoder(steps=10, generator=generator))
    own = generator or torch.default_generator
    before, training = own.get_state(), trainer.net.training
    first, second = trainer.encode(X, seed=1), trainer.encode(X, seed=1)
    trainer.observe(first)
    assert [trainer.evaluate([(X, LABELS)]).loss for _ in range(2)].count(trainer.evaluate([(X, LABELS)]).loss) == 2
    assert torch.equal(first, second)
    assert not torch.equal(first, trainer.encode(X, seed=2))
    assert torch.equal(own.get_state(), before)
    assert trainer.net.training == training
    assert not torch.equal(trainer.encode(X), trainer.encode(X))  # without a seed, noise goes on as in training


def test_what_is_encoded_is_what_a_step_learns_from() -> None:
    seen: list[Tensor] = []

    class Watched(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return super().forward(x)

    trainer = trainer_of(Watched(*mlp([6, 20, 3])), loops_inside=False, engine="attach")
    torch.manual_seed(9)
    trainer.step(X, LABELS)
    assert torch.equal(torch.stack(seen), trainer.encode(X, seed=9))


@pytest.mark.parametrize("name", ["encoder", "scheduler", "optimizer", "loss", "progress", "feedback"])
def test_a_trainer_that_is_made_is_not_changed(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(trainer_of(), name, None)


def test_nobody_finishes_a_trainer_from_outside() -> None:
    for path in PACKAGE.rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        targets = [target for node in nodes if isinstance(node, ast.Assign) for target in node.targets]
        targets += [node.target for node in nodes if isinstance(node, ast.AugAssign | ast.AnnAssign)]
        for target in targets:
            if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
                assert target.value.id != "trainer", f"{path}:{target.lineno}"


def test_callbacks_see_what_the_protocol_lists() -> None:
    found: dict[str, object] = {}

    class Look(Callback):
        def on_epoch_end(self, trainer: Trainer, result: object) -> None:
            members = [*Trainer.__annotations__, *(name for name in vars(Trainer) if not name.startswith("_"))]
            found.update((name, getattr(trainer, name)) for name in members)

    trainer_of().fit([(X, LABELS)], epochs=1, callbacks=[Look()], progress=False)
    assert {"net", "encode", "run", "observe", "feedback", "stop", "state_dict"} <= set(found)


@pytest.mark.parametrize("engine", ["attach", "fused"])
def test_the_values_of_labels_are_looked_at_once_a_batch(engine: str) -> None:
    """On a GPU every look waits for it."""

    class Count(TorchFunctionMode):
        looks = 0

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = getattr(func, "__name__", "")
            self.looks += name in ("lt", "__lt__") and args[0].dtype is torch.int64  # labels < 0
            return func(*args, **(kwargs or {}))

    trainer = trainer_of(engine=engine)
    with Count() as count:
        trainer.step(X, LABELS)
    assert count.looks == 1
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.2"):
        trainer.step(X, LABELS + 1)
