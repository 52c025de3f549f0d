"""The loop over batches, and what is seen of it while it runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from snntorch_brp.runtime import distributed
from snntorch_brp.runtime.interrupt import Interrupt
from snntorch_brp.training.batch import next_batch
from snntorch_brp.training.callbacks import Callback
from snntorch_brp.training.guard import FiringWatch, NotFinite
from snntorch_brp.training.optimizing import Movement
from snntorch_brp.training.results import EpochResult, Progress

logger = logging.getLogger(__name__)


class EpochLoop:
    """Trains epoch by epoch, calls back after every step, and stops where it must.

    Args:
        trainer: The trainer, which takes the steps.
        callbacks: Called after every step.
        interrupt: Whether someone wants to stop.
        hidden: As tqdm's ``disable``.
    """

    def __init__(self, trainer: Any, callbacks: Sequence[Callback], interrupt: Interrupt, hidden: bool | None) -> None:
        self.trainer, self.callbacks, self.interrupt, self.hidden = trainer, callbacks, interrupt, hidden
        self.now: Progress = trainer.progress
        self.watch = FiringWatch(trainer.executor)
        self._stillness_told = False

    def run(self, batches: Iterator[Any], total: int | None) -> None:
        """Train on the batches that are left of the running epoch.

        Raises:
            ValueError: If there are none, or one does not fit; the message says where.
            KeyboardInterrupt: If training was stopped by Ctrl-C or SIGTERM.
        """
        now, start = self.now, time.perf_counter() - self.now.seconds
        movement = Movement(self.trainer.net) if now.batches == 0 else None
        self.watch.start()
        with bar_of(f"epoch {now.epoch}", total, self.hidden, done=now.batches) as bar:
            while True:
                with self._saying_where(), self.watch.watching():
                    result, stop = self.trainer.step_together(next_batch(batches), self.interrupt)
                if result is None:
                    break
                now.seconds = time.perf_counter() - start
                loss, accuracy = now.loss / now.count, now.correct / now.count
                bar.set_postfix_str(f"loss {loss:.4f}, accuracy {accuracy:.1%}", refresh=False)
                bar.update()
                for callback in self.callbacks:
                    callback.on_step_end(self.trainer, result)
                if stop or (self.interrupt.requested and distributed.world_size() == 1):
                    self._interrupted()
        if not now.count:
            raise ValueError("the loader yields no batches: is the data set empty, or the loader used up?")
        self.watch.report(now.epoch, self.trainer.device)
        if movement is not None and not self._stillness_told and movement.none():
            self._stillness_told = True
            logger.warning(
                "no weight has moved in epoch %d: is the learning rate 0, is every gradient 0, or is the optimizer one "
                "of another network?",
                now.epoch,
            )

    def _interrupted(self) -> None:
        for callback in self.callbacks:
            callback.on_interrupt(self.trainer)
        raise KeyboardInterrupt(f"stopped after step {self.now.step}, in epoch {self.now.epoch}")

    @contextmanager
    def _saying_where(self) -> Iterator[None]:
        """Add to an error about numbers or a batch, where in the run it happened."""
        try:
            yield
        except ValueError as error:
            where = f"step {self.now.step + 1} (epoch {self.now.epoch}, batch {self.now.batches + 1})"
            kind = NotFinite if isinstance(error, NotFinite) else ValueError
            raise kind(f"{where}: {error}") from error


_BAR = "{desc}: {n_fmt}/{total_fmt} |{bar:10}| {elapsed}<{remaining}{postfix}"  # leaves 40 of 80 columns to results


def bar_of(title: str, total: int | None, hidden: bool | None, *, done: int = 0) -> tqdm:
    """A progress bar that goes away when it is full; ``hidden`` None hides it unless there is a terminal."""
    return tqdm(desc=title, total=total, initial=done, disable=hidden, leave=False, bar_format=_format(total))


def epochs_bar(progress: Progress, epochs: int, hidden: bool | None) -> tqdm:
    """The bar of all epochs, which stays."""
    return tqdm(desc="epochs", total=epochs, initial=progress.epoch - 1, disable=hidden, bar_format=_BAR)


def show(bar: tqdm, result: EpochResult) -> None:
    """Show an epoch's accuracies on the bar of all epochs."""
    found = {} if result.validation is None else {"validation": result.validation.accuracy}
    shares = {**found, "training": result.accuracy}
    bar.set_postfix_str(", ".join(f"{name} {share:.1%}" for name, share in shares.items()))
    bar.update()


def _format(total: int | None) -> str | None:
    return None if total is None else _BAR  # without a total there is nothing to fill


def length(loader: object) -> int | None:
    """Number of batches, where the loader knows it."""
    return len(loader) if isinstance(loader, Sized) else None
