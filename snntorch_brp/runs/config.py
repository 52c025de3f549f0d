"""The settings of a run, and what their words mean."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR

from snntorch_brp.consolidation import consolidation_named
from snntorch_brp.data.augment import AUGMENTATIONS
from snntorch_brp.named import canonical
from snntorch_brp.propagation import PROPAGATIONS
from snntorch_brp.rules import trained_rule
from snntorch_brp.tasks.registry import task_named

SCHEDULES: dict[str, Callable[[Optimizer, int], LRScheduler | None]] = {
    "constant": lambda optimizer, steps: None,
    "cosine": lambda optimizer, steps: CosineAnnealingLR(optimizer, steps),
    "step": lambda optimizer, steps: MultiStepLR(optimizer, [steps // 2, steps * 3 // 4], gamma=0.1),
}
WEIGHTS = ("torch", "calibrated")
ENCODERS = ("rate", "direct")
ENGINES = ("auto", "attach", "fused")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class RunConfig:
    """All settings of a run; what ``config.json`` holds.

    Attributes:
        task: Name in the table of tasks, or ``module:TASK``.
        data: Folder of the data set, where it needs one.
        model: The network, in the paper's notation, or ``module:function``.
        propagation: Name of the rule.
        steps: Time steps T.
        alpha: α of eq. 3.
        epochs: Passes over the training set.
        lr: Learning rate of Adam, at the start.
        schedule: "constant", "cosine" down to 0 over the run, or "step": a tenth from half and again from 3/4 of it.
        batch_size: Samples in a batch.
        seed: Seeds weights, feedback, order and encoding.
        device: "cpu" or "cuda".
        engine: How the layers are run: "auto", "attach" or "fused".
        precision: "float32" or "bfloat16".
        clip_norm: Largest norm of the gradient; None for no limit.
        weight_decay: AdamW's, instead of Adam.
        patience: Epochs without a better validation accuracy after which training stops; None for never.
        limit_train: Train on the first so many samples only.
        limit_test: Test on the first so many samples only.
        options: What was chosen of the task's own options.
        weights: Where they start: "torch", as torch draws them, or "calibrated", scaled on the first training samples
            so that every layer fires.
        validation: Part of the training data that is held back, and chosen on; 0 trains on all of it.
        consolidation: Name of how a layer learns from what it is sent.
        regions: Of the feedback of convolutional layers, along each axis; None for a weight for every neuron.
        encoder: "rate", or "direct" for values that are given at every step as they are.
        hidden_lr: Learning rate of all layers but the last; ``lr`` where None.
        detach_reset: Whether the pseudo-gradient takes a neuron's reset as a constant.
        augment: What is done to training images whenever they are read, by its name; None for nothing.
    """

    task: str
    data: str | None
    model: str
    propagation: str
    steps: int
    alpha: float
    epochs: int
    lr: float
    schedule: str
    batch_size: int
    seed: int
    device: str
    engine: str = "auto"
    precision: str = "float32"
    clip_norm: float | None = None
    weight_decay: float = 0.0
    patience: int | None = None
    limit_train: int | None = None
    limit_test: int | None = None
    options: dict[str, str | None] = field(default_factory=dict)
    weights: str = "torch"  # what a config.json that does not say meant
    validation: float = 0.0
    consolidation: str = "pseudo-gradient"
    regions: int | None = None
    encoder: str = "rate"
    hidden_lr: float | None = None
    detach_reset: bool = False
    augment: str | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> RunConfig:
        """The settings in a dictionary, each checked.

        Raises:
            ValueError: If a setting is unknown, is missing, or cannot be; the message names it.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"settings are names with values, got {type(values).__name__}")
        known = {entry.name: entry for entry in fields(cls)}
        for name in values:
            if name not in known:
                raise ValueError(f"{name!r} is no setting of a run; these are {', '.join(known)}")
        for name, entry in known.items():
            if name not in values and entry.default is MISSING and entry.default_factory is MISSING:
                raise ValueError(f"{name!r} is missing")
        config = cls(**values)
        config.check()
        return config

    def check(self) -> None:
        """Raise a ValueError, with its name, if a setting cannot be."""
        for name, (wanted, good) in _CHECKS.items():
            value = getattr(self, name)
            try:
                fits = good(value)
            except (TypeError, ValueError):
                fits = False
            if not fits:
                raise ValueError(f"{name!r} must be {wanted}, got {value!r}")
        trained_rule(self.propagation)
        consolidation_named(self.consolidation)
        known = task_named(self.task).options
        for name, value in self.options.items():
            if name not in known:
                raise ValueError(f"'options': {self.task} has no {name!r}; it has {', '.join(known) or 'none'}")
            choices = known[name].choices
            if value is not None and (not isinstance(value, str) or (choices and value not in choices)):
                raise ValueError(f"'options': {name!r} must be {' or '.join(choices) or 'text'}, got {value!r}")

    @classmethod
    def read(cls, folder: Path) -> RunConfig:
        """The settings of a run folder.

        Raises:
            FileNotFoundError: If the folder holds no run.
            ValueError: If its ``config.json`` is not one of ours; the message names the setting.
        """
        path = folder / "config.json"
        if not path.is_file():
            raise FileNotFoundError(f"{folder} is not a run folder: it has no config.json")
        try:
            return cls.of(json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:  # of json and of unicode, too
            raise ValueError(f"{path} is damaged or of another version: {error}") from None

    def key(self) -> dict[str, Any]:
        """All that the results depend on; what was added later counts only where it is not at its default."""
        values = asdict(self)
        del values["data"]
        return {name: value for name, value in values.items() if name not in _ADDED or value != _ADDED[name]}

    def check_same(self, other: RunConfig, run: str = "the run to be resumed") -> None:
        """Raise a ValueError if another run's results would differ; ``run`` is what the message calls it."""
        different = differences(self, other)
        if different:
            changes = ", ".join(
                f"{name}={getattr(other, name)!r}, and not {getattr(self, name)!r}" for name in different
            )
            raise ValueError(f"{run} was started with {changes}: give the same options")


def differences(one: RunConfig, other: RunConfig) -> list[str]:
    """The settings that differ, without those that do not change results."""
    mine, theirs = asdict(one), asdict(other)
    return [name for name in mine if mine[name] != theirs[name] and name not in ("data", "device")]


_ADDED = {
    "precision": "float32",
    "clip_norm": None,
    "weight_decay": 0.0,
    "patience": None,
    "weights": "torch",
    "validation": 0.0,
    "consolidation": "pseudo-gradient",
    "regions": None,
    "encoder": "rate",
    "hidden_lr": None,
    "detach_reset": False,
    "augment": None,
}

_Check = tuple[str, Callable[[Any], bool]]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _one_of(*choices: str) -> _Check:
    return " or ".join(map(repr, choices)), lambda value: isinstance(value, str) and value in choices


def _or_none(check: _Check) -> _Check:
    wanted, good = check
    return f"{wanted}, or null", lambda value: value is None or good(value)


_TEXT: _Check = ("text", lambda value: isinstance(value, str) and bool(value))
_WHOLE: _Check = (
    "a whole number of at least 1",
    lambda value: isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**63,
)
_POSITIVE: _Check = ("a positive number", lambda value: _number(value) and value > 0)
_CHECKS: dict[str, _Check] = {
    "task": _TEXT,
    "data": _or_none(_TEXT),
    "model": _TEXT,
    "propagation": _TEXT,
    "steps": _WHOLE,
    "alpha": _POSITIVE,
    "epochs": _WHOLE,
    "lr": _POSITIVE,
    "schedule": _one_of(*SCHEDULES),
    "batch_size": _WHOLE,
    "seed": (
        "a whole number in -2^63..2^63-1",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63,
    ),
    "device": _one_of("cpu", "cuda"),
    "engine": _one_of(*ENGINES),
    "precision": _one_of(*PRECISIONS),
    "clip_norm": _or_none(_POSITIVE),
    "weight_decay": ("a number of at least 0", lambda value: _number(value) and value >= 0),
    "patience": _or_none(_WHOLE),
    "limit_train": _or_none(_WHOLE),
    "limit_test": _or_none(_WHOLE),
    "options": ("names with values", lambda value: isinstance(value, dict)),
    "weights": _one_of(*WEIGHTS),
    "validation": ("a number from 0 to below 1", lambda value: _number(value) and 0 <= value < 1),
    "consolidation": _TEXT,
    "regions": _or_none(_WHOLE),
    "encoder": _one_of(*ENCODERS),
    "hidden_lr": _or_none(_POSITIVE),
    "detach_reset": ("true or false", lambda value: isinstance(value, bool)),
    "augment": _or_none(_one_of(*AUGMENTATIONS)),
}


def usual_weights(propagation: str) -> str:
    """Where they start unless something else is asked for: hidden layers that never learn must fire at once."""
    rule = PROPAGATIONS.get(canonical(propagation, PROPAGATIONS))
    return "calibrated" if rule is not None and rule.calibrated else "torch"


def resolve_device(name: str) -> str:
    """The device meant by "auto", "cpu" or "cuda".

    Raises:
        ValueError: If there is no such device here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("there is no CUDA device here, or torch was installed without CUDA: use --device cpu")
    return name
