"""What training and testing report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class StepResult:
    """One training step: mean loss, and how many of ``count`` samples were right."""

    loss: float
    correct: int
    count: int


@dataclass(frozen=True)
class Evaluation:
    """How a network does on a data set.

    Attributes:
        loss: Mean loss over the samples.
        confusion: Number of samples of each true class (row) taken for each class (column), ``[K, K]``.
        split: How the samples were parted from those trained on, where that is known.
    """

    loss: float
    confusion: Tensor
    split: str = ""

    @property
    def count(self) -> int:
        """Number of samples."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of samples taken for what they are, 0..1."""
        return int(self.confusion.diagonal().sum()) / self.count

    def __str__(self) -> str:
        split = f" ({self.split})" if self.split else ""
        return f"accuracy {self.accuracy:.2%}, loss {self.loss:.4f}, {self.count} samples{split}"


@dataclass(frozen=True)
class EpochResult:
    """One epoch: training loss and accuracy (while learning), seconds, and the validation where there is one."""

    epoch: int
    loss: float
    accuracy: float
    seconds: float
    validation: Evaluation | None = None

    def row(self) -> dict[str, float]:
        """The figures that a repeated run gives again, as a flat dictionary for a table or a log."""
        row = {"epoch": self.epoch, "loss": self.loss, "accuracy": self.accuracy}
        if self.validation is not None:
            row |= {"validation_loss": self.validation.loss, "validation_accuracy": self.validation.accuracy}
        return row

    @property
    def score(self) -> float:
        """What the best epoch is chosen by: accuracy in validation, or in training where there is none."""
        return self.accuracy if self.validation is None else self.validation.accuracy


@dataclass
class Progress:
    """How far training has come.

    Attributes:
        epoch: The running epoch, from 1.
        batches: Batches of it that are done.
        step: Steps done in all.
        seconds: Time spent on the running epoch.
        loss: Sum of the samples' losses in the running epoch.
        correct: Samples of it that were right.
        count: Samples of it that were seen.
        results: The epochs that are done.
    """

    epoch: int = 1
    batches: int = 0
    step: int = 0
    seconds: float = 0.0
    loss: float = 0.0
    correct: int = 0
    count: int = 0
    results: list[EpochResult] = field(default_factory=list)

    def add(self, result: StepResult) -> None:
        """Count a step."""
        self.batches += 1
        self.step += 1
        self.loss += result.loss * result.count
        self.correct += result.correct
        self.count += result.count

    def end_epoch(self, validation: Evaluation | None) -> EpochResult:
        """Close the running epoch and start the next."""
        mean, share = self.loss / self.count, self.correct / self.count
        self.results.append(EpochResult(self.epoch, mean, share, self.seconds, validation))
        self.epoch += 1
        self.batches, self.seconds, self.loss, self.correct, self.count = 0, 0.0, 0.0, 0, 0
        return self.results[-1]

    def state_dict(self) -> dict[str, Any]:
        """As plain values and tensors."""
        return {**_plain(self), "results": [_plain(result) for result in self.results]}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Progress:
        """The inverse of :meth:`state_dict`.

        Raises:
            ValueError: If it is not one of this version, or its numbers cannot be.
        """
        progress = cls(**{**state, "results": [_epoch_result(result) for result in state["results"]]})
        for name in ("epoch", "batches", "step", "correct", "count"):
            value = getattr(progress, name)
            if not isinstance(value, int) or value < (name == "epoch"):
                raise ValueError(f"progress: {name!r} cannot be {value!r}")
        if len(progress.results) != progress.epoch - 1:
            raise ValueError(f"progress: {len(progress.results)} results do not fit epoch {progress.epoch}")
        return progress


def _plain(record: Any) -> dict[str, Any]:
    values = {entry.name: getattr(record, entry.name) for entry in fields(record)}
    return {name: _plain(value) if isinstance(value, Evaluation) else value for name, value in values.items()}


def _epoch_result(state: Mapping[str, Any]) -> EpochResult:
    validation = state["validation"]
    return EpochResult(**{**state, "validation": None if validation is None else Evaluation(**validation)})
