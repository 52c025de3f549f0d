"""The settings of a run, and what their words mean."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR

from snntorch_brp.propagation import (
    BRP,
    Backprop,
    ErrorProjection,
    OutputOnly,
    Propagation,
    RewardPrediction,
    SignProjection,
)

PROPAGATIONS: dict[str, Callable[[], Propagation]] = {
    "brp": BRP,
    "reward-prediction": RewardPrediction,
    "error": ErrorProjection,
    "sign": SignProjection,
    "backprop": Backprop,
    "output-only": OutputOnly,
}
SCHEDULES: dict[str, Callable[[Optimizer, int], LRScheduler | None]] = {
    "constant": lambda optimizer, steps: None,
    "cosine": lambda optimizer, steps: CosineAnnealingLR(optimizer, steps),
    "step": lambda optimizer, steps: MultiStepLR(optimizer, [steps // 2, steps * 3 // 4], gamma=0.1),
}
WEIGHTS = ("torch", "calibrated")


@dataclass(frozen=True)
class RunConfig:
    """All settings of a run; what ``config.json`` holds.

    Attributes:
        task: Name in the table of tasks.
        data: Folder of the data set, where it needs one.
        model: The network, in the paper's notation.
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
        patience: Epochs without a better test accuracy after which training stops; None for never.
        limit_train: Train on the first so many samples only.
        limit_test: Test on the first so many samples only.
        options: What was chosen of the task's own options.
        weights: Where they start: "torch", as torch draws them, or "calibrated", scaled on the first training samples
            so that every layer fires.
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

    @classmethod
    def read(cls, folder: Path) -> RunConfig:
        """The settings of a run folder.

        Raises:
            FileNotFoundError: If the folder holds no run.
            ValueError: If its ``config.json`` is not one of ours.
        """
        path = folder / "config.json"
        if not path.is_file():
            raise FileNotFoundError(f"{folder} is not a run folder: it has no config.json")
        try:
            return cls(**json.loads(path.read_text()))
        except (json.JSONDecodeError, TypeError) as error:
            raise ValueError(f"{path} is damaged or of another version: {error}") from None

    def key(self) -> dict[str, Any]:
        """All that the results depend on; what was added later counts only where it is not at its default."""
        values = asdict(self)
        del values["data"]
        return {name: value for name, value in values.items() if name not in _ADDED or value != _ADDED[name]}

    def check_same(self, other: RunConfig) -> None:
        """Raise a ValueError if another run's results would differ."""
        mine, theirs = asdict(self), asdict(other)
        different = [name for name in mine if mine[name] != theirs[name] and name not in ("data", "device")]
        if different:
            changes = ", ".join(f"{name}={theirs[name]!r}, and not {mine[name]!r}" for name in different)
            raise ValueError(f"the run to be resumed was started with {changes}: give the same options")


_ADDED = {"precision": "float32", "clip_norm": None, "weight_decay": 0.0, "patience": None, "weights": "torch"}


def usual_weights(propagation: str) -> str:
    """Where they start unless something else is asked for: hidden layers that never learn must fire at once."""
    return "calibrated" if propagation == "output-only" else "torch"


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
