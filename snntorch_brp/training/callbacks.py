"""What can be plugged into training without editing the package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from snntorch_brp.runtime.files import write_whole
from snntorch_brp.training.results import EpochResult, StepResult


class Callback:
    """What can be plugged into :meth:`snntorch_brp.BRPTrainer.fit`; override the methods that you need.

    Callbacks are called in the order given. ``trainer`` is the :class:`snntorch_brp.BRPTrainer`: its ``net``,
    ``optimizer`` and ``progress`` may be looked at, ``trainer.stop(reason)`` ends training, and
    ``trainer.state_dict()`` is all that is needed to go on. In a job of several processes each of them calls its own.

    Example:
        >>> class Print(Callback):
        ...     def on_epoch_end(self, trainer, result):
        ...         print(f"epoch {result.epoch}: accuracy {result.accuracy:.0%}")
    """

    def on_fit_start(self, trainer: Any) -> None:
        """Before the first step, also of a run that goes on from a checkpoint."""

    def on_step_end(self, trainer: Any, result: StepResult) -> None:
        """After every training step."""

    def on_epoch_end(self, trainer: Any, result: EpochResult) -> None:
        """After every epoch and its validation."""

    def on_interrupt(self, trainer: Any) -> None:
        """After the step at which Ctrl-C or SIGTERM stopped training."""

    def on_fit_end(self, trainer: Any) -> None:
        """After the last epoch; not if training was interrupted or failed."""


class EarlyStopping(Callback):
    """Stops when the accuracy (in validation, where there is one) has not risen for some epochs.

    Args:
        patience: Number of epochs without a new best.

    Raises:
        ValueError: If ``patience`` is not positive.

    Example:
        >>> EarlyStopping(patience=3).patience
        3
    """

    def __init__(self, patience: int) -> None:
        if patience < 1:
            raise ValueError(f"patience must be at least 1 epoch, got {patience}")
        self.patience = patience

    def on_fit_start(self, trainer: Any) -> None:
        """A run that has stopped stays stopped when it is resumed."""
        results = trainer.progress.results
        if not results:
            return
        best = max(results, key=lambda result: (result.score, -result.epoch))
        if results[-1].epoch - best.epoch >= self.patience:
            trainer.stop(f"no better accuracy than {best.score:.2%} of epoch {best.epoch} for {self.patience} epochs")

    def on_epoch_end(self, trainer: Any, result: EpochResult) -> None:
        """Look at all epochs so far."""
        self.on_fit_start(trainer)


class MetricsFile(Callback):
    """Keeps a file with one JSON line an epoch; the file is whole at any moment, and follows a resumed run.

    Args:
        path: The file, such as ``metrics.jsonl``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_fit_start(self, trainer: Any) -> None:
        """Write the epochs that are done, and no others."""
        rows = [json.dumps(result.row()) + "\n" for result in trainer.progress.results]
        write_whole(self.path, "".join(rows).encode())

    def on_epoch_end(self, trainer: Any, result: EpochResult) -> None:
        """Write it anew with the new epoch."""
        self.on_fit_start(trainer)
