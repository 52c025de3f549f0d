"""What a training of the study has come to, as it is stored, and the clock that counts its seconds."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snntorch_brp.paper.stored import number, stored_object, unusable
from snntorch_brp.runtime.files import write_whole
from snntorch_brp.training import Callback, EpochResult, Trainer


@dataclass(frozen=True)
class Outcome:
    """A finished training.

    Attributes:
        curve: Accuracy on the training samples while they were learned, and on the validation part, of every epoch,
            in percent; in a trial that of the last epoch alone.
        seconds: Of the processor, for each epoch.
        test: Accuracy on the test set after the last epoch, in percent; None in a trial.
        probe: What linear readers behind each layer read of the validation part, in percent; empty in a trial.
        machine: What computed.
    """

    curve: list[list[float]]
    seconds: list[float]
    test: float | None
    probe: dict[str, float]
    machine: str

    @property
    def validation(self) -> float:
        """Accuracy on the validation part after the last epoch, in percent."""
        return self.curve[-1][-1]


def read_outcome(path: Path) -> Outcome:
    """A stored training.

    Raises:
        ValueError: If the file is damaged or holds something else; the message says what, and what to do.
    """
    outcome = stored_object(path).get("outcome")
    if not isinstance(outcome, dict) or set(outcome) != set(Outcome.__dataclass_fields__):
        raise unusable(path, f"its 'outcome' must have {', '.join(Outcome.__dataclass_fields__)}")
    curve, seconds, probe = outcome["curve"], outcome["seconds"], outcome["probe"]
    if not isinstance(curve, list) or not curve or not all(_numbers(row) and len(row) == 2 for row in curve):
        raise unusable(path, "'curve' must be a pair of numbers for each epoch")
    if not _numbers(seconds) or not seconds or not isinstance(probe, dict) or not _numbers(list(probe.values())):
        raise unusable(path, "'seconds' and 'probe' must be numbers")
    if not (outcome["test"] is None or number(outcome["test"])) or not isinstance(outcome["machine"], str):
        raise unusable(path, "'test' must be a number or null, and 'machine' text")
    return Outcome(**outcome)


def _numbers(values: Any) -> bool:
    return isinstance(values, list) and all(map(number, values))


class Clock(Callback):
    """Seconds of the processor that each epoch took, kept beside the checkpoints; called before them.

    Args:
        path: Where they are kept.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: list[float] = json.loads(path.read_text()) if path.is_file() else []
        self._since = 0.0

    def on_fit_start(self, trainer: Trainer) -> None:
        """Take off what was counted of epochs that the checkpoint does not know."""
        self.seconds = self.seconds[: trainer.progress.epoch - 1]
        self._since = time.process_time()

    def on_epoch_end(self, trainer: Trainer, result: EpochResult) -> None:
        """Count an epoch, with its validation."""
        self.seconds.append(round(time.process_time() - self._since, 2))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, json.dumps(self.seconds).encode())
        self._since = time.process_time()
