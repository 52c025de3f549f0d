"""Checkpoints: all that a run needs to go on exactly, in one file that is whole or refused.

A file is a line that says what it is, the SHA-256 of the rest, and the state as torch saves it. Reading it executes
nothing that is in it.
"""

from __future__ import annotations

import hashlib
import io
import logging
import platform
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snntorch_brp.runtime import distributed
from snntorch_brp.runtime.files import remove_partial, write_whole
from snntorch_brp.training.callbacks import Callback, Trainer
from snntorch_brp.training.results import EpochResult, StepResult

logger = logging.getLogger(__name__)

MAGIC = b"snntorch-brp checkpoint 1\n"
_DIGEST = hashlib.sha256().digest_size
BEST = "best.ckpt"


class DamagedCheckpoint(ValueError):
    """A file that is not a whole checkpoint."""


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state of tensors and plain values; a crash or a full disk leaves no half of it.

    Raises:
        OSError: If it cannot be written; an older file of that name is untouched then.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    content = buffer.getbuffer()
    write_whole(path, b"".join((MAGIC, hashlib.sha256(content).digest(), content)))


def read_checkpoint(path: Path, *, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The state in a checkpoint; nothing in the file is executed.

    Raises:
        FileNotFoundError: If there is no such file.
        DamagedCheckpoint: If it is something else, was cut off or has changed.
    """
    try:
        whole = memoryview(path.read_bytes())
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedCheckpoint(f"{path} cannot be read: {error.strerror}") from error
    if bytes(whole[: len(MAGIC)]) != MAGIC:
        raise DamagedCheckpoint(f"{path} is no checkpoint of this package, or its start is damaged")
    digest, content = bytes(whole[len(MAGIC) : len(MAGIC) + _DIGEST]), whole[len(MAGIC) + _DIGEST :]
    if hashlib.sha256(content).digest() != digest:
        raise DamagedCheckpoint(f"{path} is damaged or cut off: its checksum does not fit its {len(content)} bytes")
    try:
        state = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except Exception as error:
        raise DamagedCheckpoint(f"{path} holds something else than tensors and plain values: {error}") from error
    if not isinstance(state, dict):
        raise DamagedCheckpoint(f"{path} holds a {type(state).__name__}, and not the names and values of a state")
    return state


def versions() -> dict[str, str]:
    """The versions that a bit-equal repetition depends on."""
    return {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__}


class Checkpoints(Callback):
    """Keeps checkpoints of a run in a folder: the last few, and the best.

    One is written after every epoch, on Ctrl-C and SIGTERM, and every so many steps. Give it as the last callback,
    and, of several processes, to the first alone.

    Args:
        folder: Folder of the files ``step-000000123.ckpt`` and ``best.ckpt``; made where it does not exist.
        every: Steps between two checkpoints; None for none within an epoch.
        keep: How many of the last ones to keep.
        about: Plain values to save along, such as the settings of the run.
        check: Is given the ``about`` of a checkpoint before it is gone on with, and raises a ValueError if it is of
            another run.

    Raises:
        ValueError: If ``every`` or ``keep`` is not positive.

    Example:
        >>> checkpoints = Checkpoints(Path("run/checkpoints"), every=500)  # doctest: +SKIP
        >>> checkpoints.resume(trainer)  # doctest: +SKIP
        >>> trainer.fit(loader, epochs=5, callbacks=[checkpoints])  # doctest: +SKIP
    """

    def __init__(
        self,
        folder: Path,
        *,
        every: int | None = None,
        keep: int = 3,
        about: Mapping[str, Any] | None = None,
        check: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        if keep < 1 or (every is not None and every < 1):
            raise ValueError(f"keep and every must be at least 1, got keep={keep}, every={every}")
        self.folder, self.every, self.keep = folder, every, keep
        self.about, self.check = dict(about or {}), check

    def resume(self, trainer: Trainer, *, device: torch.device | str = "cpu") -> Path | None:
        """Bring a trainer to the newest whole checkpoint.

        Args:
            trainer: A trainer made like the one that was saved.
            device: Where the tensors are brought to.

        Returns:
            The file, or None where there is none and the run starts anew.

        Raises:
            ValueError: If the state does not fit the trainer, is of another run, or all files are damaged.
        """
        found = distributed.broadcast_object(self._newest(device) if distributed.rank() == 0 else None)
        if found is None:
            return None
        path, state = found
        if self.check is not None:
            try:
                self.check(state["about"])
            except ValueError as error:
                raise ValueError(f"{path} is of another run: {error}") from None
        trainer.load_state_dict(state["trainer"])
        if distributed.rank() == 0:
            _tell_versions(path, state["versions"])
            logger.info("going on from %s: epoch %d, step %d", path, trainer.progress.epoch, trainer.progress.step)
        return path

    def _newest(self, device: torch.device | str) -> tuple[Path, dict[str, Any]] | None:
        """The newest whole checkpoint and what it holds."""
        damaged: list[str] = []
        for path in reversed(self.paths()):
            try:
                state = read_checkpoint(path, device=device)
                for part in ("trainer", "about", "versions"):
                    if not isinstance(state.get(part), dict):
                        raise DamagedCheckpoint(f"{path} is no checkpoint of a trainer: it holds no {part!r}")
                return path, state
            except (DamagedCheckpoint, FileNotFoundError) as error:  # a link to nowhere is found, and is not
                logger.warning("%s; falling back to the one before", error)
                damaged.append(path.name)
        if damaged:
            raise DamagedCheckpoint(f"no whole checkpoint is left in {self.folder}; damaged: {', '.join(damaged)}")
        return None

    def paths(self) -> list[Path]:
        """The last checkpoints, the oldest first."""
        return sorted(path for path in self.folder.glob("step-*.ckpt") if re.fullmatch(r"step-\d+\.ckpt", path.name))

    def on_fit_start(self, trainer: Trainer) -> None:
        """Make the folder, free of what a killed run left."""
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_partial(self.folder)

    def on_step_end(self, trainer: Trainer, result: StepResult) -> None:
        """Save every so many steps."""
        if self.every is not None and trainer.progress.step % self.every == 0:
            self.save(trainer)

    def on_epoch_end(self, trainer: Trainer, result: EpochResult) -> None:
        """Save; and again as the best, if it is."""
        state = self.save(trainer)
        if all(result.score > earlier.score for earlier in trainer.progress.results[:-1]):
            write_checkpoint(self.folder / BEST, state)

    def on_interrupt(self, trainer: Trainer) -> None:
        """Save where training was stopped."""
        self.save(trainer)

    def save(self, trainer: Trainer) -> dict[str, Any]:
        """Write a checkpoint now, and remove those that are too old; returns what it holds."""
        state = {"trainer": trainer.state_dict(), "about": self.about, "versions": versions()}
        write_checkpoint(self.folder / f"step-{trainer.progress.step:09d}.ckpt", state)
        kept = [path for path in self.paths() if path.is_file()]  # a folder or a link to nowhere is none of ours
        for path in kept[: -self.keep]:
            path.unlink(missing_ok=True)
        return state


def _tell_versions(path: Path, then: Mapping[str, str]) -> None:
    now = versions()
    changed = [f"{name} {then.get(name)} then, {now[name]} now" for name in now if then.get(name) != now[name]]
    if changed:
        logger.warning("%s was written with %s: results may differ in the last digits", path, "; ".join(changed))
