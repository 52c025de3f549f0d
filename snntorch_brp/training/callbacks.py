"""What can be plugged into training without editing the package."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from snntorch_brp.activity import Activity
from snntorch_brp.attachment import Attached, Online
from snntorch_brp.feedback import Feedback
from snntorch_brp.runtime.files import write_whole
from snntorch_brp.training.executor import Loss
from snntorch_brp.training.results import EpochResult, Progress, StepResult


class Trainer(Protocol):
    """What a callback may rely on of the trainer that calls it: :class:`snntorch_brp.BRPTrainer`, or one like it.

    Attributes:
        net: The network.
        num_classes: Number of classes K.
        loops_inside: Whether ``net(x)`` runs all time steps.
        attached: Its handle, with the rule.
        stopped: Why training ended early; None where it did not.
    """

    net: nn.Module
    num_classes: int
    loops_inside: bool
    attached: Attached | Online
    stopped: str | None

    @property
    def device(self) -> torch.device:
        """Where the network is."""

    @property
    def encoder(self) -> Callable[[Tensor], Tensor] | None:
        """Maps a batch to the network's input; None for data that is spikes already."""

    @property
    def feedback(self) -> Feedback:
        """The fixed matrices B_l."""

    @property
    def loss(self) -> Loss:
        """What the output learns from."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Moves the weights."""

    @property
    def progress(self) -> Progress:
        """Epoch, step and results so far."""

    def encode(self, x: Tensor, *, seed: int | None = None) -> Tensor:
        """The network's input, as training makes it of a batch: ``[T, B, *]``."""

    def run(self, x: Tensor, *, seed: int = 0) -> Tensor:
        """What the network gives for an input, without learning: ``[T, B, n·K]``."""

    def observe(self, x: Tensor, *, seed: int = 0) -> dict[str, Activity]:
        """What every spiking layer does while the network runs, by name."""

    def stop(self, reason: str) -> None:
        """End training after this epoch."""

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on exactly from here."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""


class Callback:
    """What can be plugged into :meth:`snntorch_brp.BRPTrainer.fit`; override the methods that you need.

    Callbacks are called in the order given. ``trainer`` is the :class:`snntorch_brp.BRPTrainer`, and :class:`Trainer`
    lists what may be relied on: its ``net``, ``optimizer`` and ``progress`` may be looked at, ``trainer.encode(x)``,
    ``.run`` and ``.observe`` try it out, ``trainer.stop(reason)`` ends training, and ``trainer.state_dict()`` is all
    that is needed to go on. In a job of several processes each of them calls its own.

    Example:
        >>> class Print(Callback):
        ...     def on_epoch_end(self, trainer, result):
        ...         print(f"epoch {result.epoch}: accuracy {result.accuracy:.0%}")
    """

    def on_fit_start(self, trainer: Trainer) -> None:
        """Before the first step, also of a run that goes on from a checkpoint."""

    def on_step_end(self, trainer: Trainer, result: StepResult) -> None:
        """After every training step."""

    def on_epoch_end(self, trainer: Trainer, result: EpochResult) -> None:
        """After every epoch and its validation."""

    def on_interrupt(self, trainer: Trainer) -> None:
        """After the step at which Ctrl-C or SIGTERM stopped training."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """After the last epoch; not if training was interrupted or failed."""


def check_callbacks(callbacks: object) -> None:
    """Raise a TypeError unless this is a list of callbacks."""
    given = list(callbacks) if isinstance(callbacks, Iterable) else [None]
    if not all(isinstance(callback, Callback) for callback in given):
        raise TypeError(f"callbacks must be a list of objects of a subclass of Callback, got {callbacks!r}")


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

    def on_fit_start(self, trainer: Trainer) -> None:
        """A run that has stopped stays stopped when it is resumed."""
        self._look(trainer)

    def on_epoch_end(self, trainer: Trainer, result: EpochResult) -> None:
        """Look at all epochs so far."""
        self._look(trainer)

    def _look(self, trainer: Trainer) -> None:
        results = trainer.progress.results
        if not results:
            return
        best = max(results, key=lambda result: (result.score, -result.epoch))
        if results[-1].epoch - best.epoch >= self.patience:
            trainer.stop(f"no better accuracy than {best.score:.2%} of epoch {best.epoch} for {self.patience} epochs")


class MetricsFile(Callback):
    """Keeps a file with one JSON line an epoch; the file is whole at any moment, and follows a resumed run.

    Args:
        path: The file, such as ``metrics.jsonl``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_fit_start(self, trainer: Trainer) -> None:
        """Write the epochs that are done, and no others."""
        self._write(trainer)

    def on_epoch_end(self, trainer: Trainer, result: EpochResult) -> None:
        """Write it anew with the new epoch."""
        self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        rows = [json.dumps(result.row()) + "\n" for result in trainer.progress.results]
        write_whole(self.path, "".join(rows).encode())
