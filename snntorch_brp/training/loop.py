"""A training step, and an epoch of them: of one process, or of several that share every batch."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from snntorch_brp.encoding import labels_checked
from snntorch_brp.finite import NotFinite
from snntorch_brp.learning_rates import FirstStep, hidden_weights
from snntorch_brp.runtime import distributed
from snntorch_brp.runtime.distributed import Share
from snntorch_brp.runtime.interrupt import Interrupt
from snntorch_brp.runtime.randomness import put_back_on_error
from snntorch_brp.runtime.verdicts import together
from snntorch_brp.training.bars import bar_of
from snntorch_brp.training.batch import Intake, next_batch
from snntorch_brp.training.executor import Executor
from snntorch_brp.training.guard import FiringWatch, check_gradients, check_weights
from snntorch_brp.training.optimizing import Movement, left_alone
from snntorch_brp.training.results import Progress, StepResult

logger = logging.getLogger(__name__)


class Steps:
    """Takes training steps.

    Args:
        net: The network.
        intake: Makes the network's input of what a loader yields.
        executor: Runs the layers, and fills the gradients.
        optimizer: Of the network's parameters.
        scheduler: Advances with every step.
        clip_norm: Largest norm of the gradient.
        sources: What draws random numbers from a generator of its own.

    Attributes:
        progress: Epoch, step and results so far.
    """

    def __init__(
        self,
        net: nn.Module,
        intake: Intake,
        executor: Executor,
        *,
        optimizer: torch.optim.Optimizer,
        scheduler: torch.optim.lr_scheduler.LRScheduler | None,
        clip_norm: float | None,
        sources: tuple[object, ...],
    ) -> None:
        self.net, self.intake, self.executor = net, intake, executor
        self.optimizer, self.scheduler, self.clip_norm, self.sources = optimizer, scheduler, clip_norm, sources
        self.progress = Progress()
        self._first_step: FirstStep | None = FirstStep()
        self._left_alone = set(left_alone(optimizer, net))  # which the user has been told

    def take(self, batch: Any, interrupt: Interrupt | None = None) -> tuple[StepResult | None, bool]:
        """One step of all processes, each with its part of the batch.

        Args:
            batch: The pair ``(x, labels)``; None where this process has no part.
            interrupt: Whether this process has been asked to stop.

        Returns:
            What came of the whole batch, None where no process had any; and whether all shall stop.
        """
        if torch.is_inference_mode_enabled():
            raise ValueError("nothing can be learned inside torch.inference_mode(): take the step outside of it")
        on_cpu = self.intake.device.type == "cpu"
        with put_back_on_error(*self.sources), together() as verdicts:
            if not on_cpu:  # those of the step before, with all else that is asked of the device
                check_weights(self.net)
            batch, share = self.intake.part(batch)
            if share.count == 0:
                return None, False
            self.net.train()
            self._tell_new_parameters()
            self.optimizer.zero_grad()
            here, right = self._learn(batch, share)
            stop_here = interrupt is not None and interrupt.requested
            loss, correct, stop = distributed.average_gradients(
                self.net.parameters(), share.weight, here * share.weight, right, stop_here
            )
            check_gradients(self.net)
            loss, correct = verdicts.settle(loss, correct)
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.clip_norm)
        self._judge_first_step()
        self.optimizer.step()
        self._judge_first_step()
        if self.scheduler is not None:
            self.scheduler.step()
        if on_cpu:
            check_weights(self.net)
        result = StepResult(loss, round(correct), share.count)
        self.progress.add(result)
        return result, bool(stop)

    def _tell_new_parameters(self) -> None:
        """Name what has been put into the network since the optimizer was made; looked for after steps 1, 2, 4, ..."""
        if self.progress.step.bit_count() != 1:
            return
        left = [name for name in left_alone(self.optimizer, self.net) if name not in self._left_alone]
        if left:
            self._left_alone.update(left)
            logger.warning(
                "the optimizer lacks %s, put into the network after it was made: they are not trained; make an "
                "optimizer and a trainer anew, or change weights in place, as in layer.weight.data.copy_(values)",
                ", ".join(left),
            )

    def _judge_first_step(self) -> None:
        if self._first_step is None or not self.executor.attached.propagation.local:
            return
        if large := self._first_step.look(hidden_weights(self.net)):
            logger.warning(large)
        if self.progress.step > 1:
            self._first_step = None

    def _learn(self, batch: tuple[Tensor, Tensor] | None, share: Share) -> tuple[Tensor | float, Tensor | float]:
        """Fill the gradients; gives the loss, and how many samples were right."""
        spikes = self.intake.encoded(batch, share)
        if batch is None or spikes is None:
            return 0.0, 0.0
        labels = batch[1]
        with distributed.random_numbers_by_rank(self.progress.step, self.intake.device), labels_checked(labels):
            loss, y = self.executor.learn(spikes, labels)
        return loss.double(), (y.argmax(1) == labels).sum()


class EpochLoop:
    """Trains epoch by epoch, calls back after every step, and stops where it must.

    Args:
        steps: Takes the steps.
        interrupt: Whether someone wants to stop.
        hidden: As tqdm's ``disable``.
        on_step: Called after every step.
        on_interrupt: Called after the step at which training stops.
    """

    def __init__(
        self,
        steps: Steps,
        interrupt: Interrupt,
        *,
        hidden: bool | None,
        on_step: Callable[[StepResult], None],
        on_interrupt: Callable[[], None],
    ) -> None:
        self.steps, self.interrupt, self.hidden = steps, interrupt, hidden
        self.on_step, self.on_interrupt = on_step, on_interrupt
        self.watch = FiringWatch(steps.executor)
        self._stillness_told = False

    def run(self, batches: Iterator[Any], total: int | None) -> None:
        """Train on the batches that are left of the running epoch.

        Raises:
            ValueError: If there are none, or one does not fit; the message says where.
            KeyboardInterrupt: If training was stopped by Ctrl-C or SIGTERM.
        """
        now = self.steps.progress
        start = time.perf_counter() - now.seconds
        movement = Movement(self.steps.net) if now.batches == 0 else None
        self.watch.start()
        with bar_of(f"epoch {now.epoch}", total, self.hidden, done=now.batches) as bar:
            while True:
                with _saying_where(now), self.watch.watching():
                    result, stop = self.steps.take(next_batch(batches), self.interrupt)
                if result is None:
                    break
                now.seconds = time.perf_counter() - start
                loss, accuracy = now.loss / now.count, now.correct / now.count
                bar.set_postfix_str(f"loss {loss:.4f}, accuracy {accuracy:.1%}", refresh=False)
                bar.update()
                self.on_step(result)
                if stop or (self.interrupt.requested and distributed.world_size() == 1):
                    self.on_interrupt()
                    raise KeyboardInterrupt(f"stopped after step {now.step}, in epoch {now.epoch}")
        if not now.count:
            raise ValueError("the loader yields no batches: is the data set empty, or the loader used up?")
        check_weights(self.steps.net)
        self.watch.report(now.epoch, self.steps.intake.device)
        if movement is not None and not self._stillness_told and movement.none():
            self._stillness_told = True
            logger.warning(
                "no weight has moved in epoch %d: is the learning rate 0, is every gradient 0, or is the optimizer one "
                "of another network?",
                now.epoch,
            )


@contextmanager
def _saying_where(now: Progress) -> Iterator[None]:
    """Add to an error about numbers or a batch, where in the run it happened."""
    try:
        yield
    except ValueError as error:
        where = f"step {now.step + 1} (epoch {now.epoch}, batch {now.batches + 1})"
        kind = NotFinite if isinstance(error, NotFinite) else ValueError
        raise kind(f"{where}: {error}") from error
