"""Finished trainings as json files: their names, and what they hold, checked when they are read."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from snntorch_brp.runs.config import RunConfig


@dataclass(frozen=True)
class Run:
    """A finished training, as it is stored.

    Attributes:
        config: Its settings.
        label: The data set, and what it stands in for.
        title: The data set, at length.
        split: How training and test set were split.
        train: Number of training samples.
        test: Number of test samples.
        machine: What it ran on.
        epochs: One row an epoch, as :meth:`snntorch_brp.training.EpochResult.row` gives it.
        found: The rows of the probe.
        samples: Fingerprints of the training and the test set; none in older files.
    """

    config: dict[str, Any]
    label: str
    title: str
    split: str
    train: int
    test: int
    machine: str
    epochs: list[dict[str, float]]
    found: Any = None  # list[dict[str, Any]] under a probe
    samples: dict[str, str] | None = None

    @property
    def accuracies(self) -> list[float]:
        """Test accuracy after each epoch, percent: what a Lab evaluates on after each epoch is the test set."""
        return [100 * row["validation_accuracy"] for row in self.epochs]


def stored_name(config: RunConfig, measured: str | None) -> str:
    """Name of a training's file: what it is, with a hash of all that its numbers depend on."""
    values = {**config.key(), "data": None}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
    options = "".join(f"-{value}" for value in config.options.values())
    what = f"T{config.steps}-e{config.epochs}-s{config.seed}" + (f"-{measured}" if measured else "")
    return f"{config.task.replace(':', '-')}{options}-{config.propagation}-{what}-{digest}"


def read_stored(path: Path) -> Run:
    """A finished training, read and checked.

    Raises:
        ValueError: If the file is damaged or holds something else; the message says what, and what to do.
    """
    values = stored_object(path)
    known = {entry.name for entry in fields(Run)}
    for name in sorted(known - set(values) - {"found", "samples"}):
        raise unusable(path, f"it has no {name!r}")
    for name in sorted(set(values) - known):
        raise unusable(path, f"it has an unknown {name!r}")
    for name, value in values.items():
        if not _CHECKS.get(name, lambda value: isinstance(value, str))(value):
            raise unusable(path, f"{name!r} cannot be {shown(value)}")
    try:
        config = RunConfig.of(values["config"])
    except ValueError as error:
        raise unusable(path, f"of 'config', {error}") from None
    if len(values["epochs"]) != config.epochs:
        raise unusable(path, f"it has {len(values['epochs'])} epochs of {config.epochs}")
    return Run(**values)


def stored_object(path: Path) -> dict[str, Any]:
    """The names with values that a stored result's file holds.

    Raises:
        ValueError: If it holds none; the message says what to do.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise unusable(path, f"it is damaged ({error})") from None
    if not isinstance(values, dict) or not values:
        raise unusable(path, f"it holds {shown(values)}")
    return values


def unusable(path: Path, why: str) -> ValueError:
    """The error of a stored result that cannot be used."""
    return ValueError(f"{path} is no stored training of this version: {why}; remove it, and it is trained anew")


def number(value: Any) -> bool:
    """Whether a value from a json file is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def shown(value: Any) -> str:
    """A value from a json file, for messages."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _epochs(value: Any) -> bool:
    rows = isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)
    return rows and all(number(row.get("validation_accuracy")) for row in value)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "config": lambda value: isinstance(value, dict),
    "train": _count,
    "test": _count,
    "epochs": _epochs,
    "samples": lambda value: value is None or isinstance(value, dict),
    "found": lambda value: value is None or (isinstance(value, list) and all(isinstance(row, dict) for row in value)),
}
