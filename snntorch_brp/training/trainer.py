"""Training and testing a spiking network under a local rule (Algorithm 1 of the paper)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from snntorch_brp.activity import Activity
from snntorch_brp.attachment import Attached, Online, attach
from snntorch_brp.attachment.handle import OutputNames
from snntorch_brp.consolidation import Consolidation
from snntorch_brp.feedback import Feedback
from snntorch_brp.fused.engine import LossOn
from snntorch_brp.neurons import reset_state
from snntorch_brp.propagation import BRP, Propagation
from snntorch_brp.rules import LocalRule
from snntorch_brp.runtime import distributed
from snntorch_brp.runtime.interrupt import interruptible
from snntorch_brp.runtime.randomness import (
    check_order,
    check_random_state,
    order_state,
    random_state,
    resume_order,
    seeded,
)
from snntorch_brp.sequence import observe
from snntorch_brp.training.bars import epochs_bar, length, show
from snntorch_brp.training.batch import Intake
from snntorch_brp.training.callbacks import Callback, check_callbacks
from snntorch_brp.training.executor import Credit, Engine, Executor, Loss, Precision, rate_mse, usual_credit
from snntorch_brp.training.guard import check_numbers
from snntorch_brp.training.loading import check_moments, unchanged_on_error
from snntorch_brp.training.loop import EpochLoop, Steps
from snntorch_brp.training.optimizing import check_optimizer, check_scheduler
from snntorch_brp.training.parallel import check_shareable
from snntorch_brp.training.results import EpochResult, Evaluation, Progress, StepResult
from snntorch_brp.training.testing import evaluate

logger = logging.getLogger(__name__)

Batches = Iterable[Any]
"""What a loader yields: pairs ``(x, labels)``, or None where this process has no part of a batch."""


class BRPTrainer:
    """Trains a snnTorch network without backpropagation between its layers, as a classifier.

    Every sample has one label. A label at every step, regression and autoencoders are for :func:`attach` in a loop of
    your own. All options are given here: the trainer is finished when it is made.

    In a job of several processes (a process group of torch.distributed) each has a trainer, made and called alike, and
    a loader of its own part of the batches (:func:`snntorch_brp.data.loader.batches` makes one); together they take
    the steps that one process would. What compares the samples of a batch, which are spread then, is refused.

    Args:
        net: An ``nn.Sequential`` that takes one step a call, or a module that loops over time itself.
        num_classes: Number of classes K. The output may have n·K neurons, n for each class (a population code): what is
            compared with the label, and what predicts, is the mean of a class's neurons.
        propagation: What is sent to the hidden layers; ``BRP()`` when None.
        consolidation: How a layer learns from it; ``PseudoGradient()`` when None.
        optimizer: Any PyTorch optimizer on the network's parameters; the paper's Adam at 1e-4 when None.
        scheduler: Any PyTorch learning-rate schedule on that optimizer; it advances with every training step.
        clip_norm: Largest norm of the gradient of all parameters together; None for no limit.
        encoder: Maps a batch, already on the network's device, to the network's input, such as
            ``RateEncoder(steps=20)``; None for data that is spikes already, time first.
        loss: Loss of what the network gives, ``[T, B, n·K]``, and the labels ``[B]``, a mean over samples, such as
            those of ``snntorch.functional``; :func:`rate_mse` when None.
        loss_on: What the loss looks at: "spikes" (of a readout that does not spike, what it gives), or "membranes",
            the last part of what the network returns, ``(spk, mem)``. The class predicted is that of the largest mean
            over time of the same.
        loops_inside: Whether ``net(x)`` runs all time steps; when None, everything but an ``nn.Sequential`` does.
        output: What is not hidden, as for :func:`attach`: a module or its name, a neuron or a readout that does not
            spike; found out when None.
        credit: How far back in time a gradient reaches, as for :func:`attach`. "full": to the start of the sequence,
            when it is over; "instant" and "trace": the layers learn while the network runs, the output from
            :func:`rate_mse`, and memory does not grow with the number of steps. When None, "trace" for a rule that
            learns in no other way (OTTT, OSTL), and "full" for all others.
        engine: "fused" runs sequential networks layer by layer (:mod:`snntorch_brp.fused`) and says which module is in
            the way where it cannot; "attach" runs any network step by step; "auto" takes the first that can. Both give
            the same gradients.
        precision: "bfloat16" computes products in bfloat16 (PyTorch's autocast under "attach"), and keeps weights,
            loss and optimizer in float32.
        generator: Source of the feedback matrices' seed.
        feedback: The feedback matrices themselves, such as ``Feedback(10, regions=4)``; drawn anew when None.

    Attributes:
        stopped: Why training ended early; None where it did not.

    Raises:
        ValueError: If the network has fewer than two spiking layers, does not qualify for the ``engine`` or the
            ``credit`` asked for, or the optimizer or the schedule is one that cannot be used, or several processes
            cannot compute what one would.

    Example:
        >>> net = mlp([64, 100, 10])
        >>> trainer = BRPTrainer(net, num_classes=10, encoder=RateEncoder(steps=10))
        >>> trainer.step(torch.rand(8, 64), torch.arange(8)).count
        8
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        num_classes: int,
        propagation: Propagation | LocalRule | None = None,
        consolidation: Consolidation | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
        clip_norm: float | None = None,
        encoder: Callable[[Tensor], Tensor] | None = None,
        loss: Loss | None = None,
        loss_on: LossOn = "spikes",
        loops_inside: bool | None = None,
        output: OutputNames = None,
        credit: Credit | None = None,
        engine: Engine = "auto",
        precision: Precision = "float32",
        generator: torch.Generator | None = None,
        feedback: Feedback | None = None,
    ) -> None:
        if clip_norm is not None and not clip_norm > 0:
            raise ValueError(f"clip_norm must be positive, got {clip_norm}")
        if optimizer is not None:
            check_optimizer(optimizer, net)
        check_scheduler(scheduler)
        self.net = net
        self.num_classes = num_classes
        rule = propagation or BRP()
        credit = credit or usual_credit(rule)
        if credit != "full" and (loss not in (None, rate_mse) or loss_on != "spikes"):
            raise ValueError(
                f"credit={credit!r}: the output learns from rate_mse of its spikes as the network runs, so leave loss "
                "and loss_on out"
            )
        loss = partial(rate_mse, num_classes=num_classes) if loss is None or loss is rate_mse else loss
        self.loops_inside = not isinstance(net, nn.Sequential) if loops_inside is None else loops_inside
        self.attached: Attached | Online = attach(
            net,
            rule,
            num_classes=num_classes,
            consolidation=consolidation,
            output=output,
            credit=credit,
            generator=generator,
            feedback=feedback,
        )
        if isinstance(self.attached, Attached):
            self.attached.names_firing_faults = False  # the training loop watches the layers under either engine
        check_shareable(net, self.attached.propagation, self.attached.consolidation, distributed.world_size())
        self.executor = Executor(
            net,
            self.attached,
            loss,
            loss_on=loss_on,
            loops_inside=self.loops_inside,
            engine=engine,
            precision=precision,
        )
        self._intake = Intake(net, encoder, num_classes=num_classes, loops_inside=self.loops_inside)
        self._steps = Steps(
            net,
            self._intake,
            self.executor,
            optimizer=optimizer or torch.optim.Adam(net.parameters(), lr=1e-4),
            scheduler=scheduler,
            clip_norm=clip_norm,
            sources=(encoder, self.attached.propagation),
        )
        self.stopped: str | None = None
        self._fitting = False
        self._loader: Batches | None = None  # of the running fit
        self._restored: Mapping[str, Any] | None = None  # where the next fit goes on
        self._share_state()

    def _share_state(self) -> None:
        """All processes start from the weights, feedback and random numbers of the first."""
        seed, numbers = self.feedback.seed.to(self.device), torch.get_rng_state().to(self.device)
        distributed.broadcast([*self.net.state_dict().values(), seed, numbers])
        self.feedback.seed.copy_(seed)
        torch.set_rng_state(numbers.cpu())

    @property
    def device(self) -> torch.device:
        """Where the network is, and where batches are moved to."""
        return self._intake.device

    @property
    def encoder(self) -> Callable[[Tensor], Tensor] | None:
        """Maps a batch to the network's input."""
        return self._intake.encoder

    @property
    def loss(self) -> Loss:
        """What the output learns from."""
        return self.executor.loss

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Moves the weights."""
        return self._steps.optimizer

    @property
    def scheduler(self) -> torch.optim.lr_scheduler.LRScheduler | None:
        """Moves the learning rate."""
        return self._steps.scheduler

    @property
    def feedback(self) -> Feedback:
        """The fixed matrices B_l."""
        return self.attached.feedback

    @property
    def progress(self) -> Progress:
        """Epoch, step and results so far."""
        return self._steps.progress

    def _buffers(self) -> list[Tensor]:
        """What is saved of the network besides its parameters, such as the running means of normalizations."""
        parameters = dict(self.net.named_parameters())
        return [value for name, value in self.net.state_dict().items() if name not in parameters]

    def step(self, x: Tensor, labels: Tensor) -> StepResult:
        """Learn from one batch: reset, run all T steps, propagate, consolidate, one optimizer step.

        Args:
            x: A batch as the loader gives it: for an encoder, or spikes ``[T, B, *]``.
            labels: Class numbers, integers ``[B]``.

        Raises:
            ValueError: If the batch does not fit, or the loss or a gradient is not finite; the message says why and
                where. Weights and random numbers are as before then.
        """
        result, _ = self._steps.take((x, labels))
        assert result is not None
        return result

    def fit(
        self,
        loader: Batches,
        *,
        epochs: int,
        validation: Batches | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool = True,
    ) -> list[EpochResult]:
        """Train for some epochs; after :meth:`load_state_dict`, go on with those that are left.

        Ctrl-C ends training after the running step, a second one at once.

        Args:
            loader: Yields ``(x, labels)`` batches; the last may be smaller.
            epochs: Number of passes over ``loader``.
            validation: Batches to evaluate on after every epoch.
            callbacks: Called after every step and epoch.
            progress: Show progress bars, where there is a terminal to show them on.

        Returns:
            One result an epoch.

        Raises:
            ValueError: If ``epochs`` is not positive, ``loader`` yields nothing, or a number is not finite.
            KeyboardInterrupt: If training was stopped by Ctrl-C or SIGTERM.
        """
        if not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 1:
            raise ValueError(f"epochs must be a whole number of at least 1, got {epochs!r}")
        if self._fitting:
            raise ValueError("fit is running already: a callback must not start it anew")
        check_callbacks(callbacks)
        self._fitting = True
        try:
            return self._fit(loader, epochs, validation, callbacks, progress)
        finally:
            self._fitting = False

    def _fit(
        self, loader: Batches, epochs: int, validation: Batches | None, callbacks: Sequence[Callback], progress: bool
    ) -> list[EpochResult]:
        """The epochs that are left."""
        restored, self._restored = self._restored, None
        self._steps.progress = Progress() if restored is None else Progress.from_state(restored["progress"])
        self.stopped, self._loader = None, loader
        for callback in callbacks:
            callback.on_fit_start(self)

        def after_step(result: StepResult) -> None:
            for callback in callbacks:
                callback.on_step_end(self, result)

        def after_last_step() -> None:
            for callback in callbacks:
                callback.on_interrupt(self)

        hidden = None if progress and distributed.rank() == 0 else True  # None: hidden unless on a terminal
        with interruptible() as interrupt, epochs_bar(self.progress, epochs, hidden) as bar:
            loop = EpochLoop(
                self._steps,
                interrupt,
                hidden=hidden,
                on_step=after_step,
                on_interrupt=after_last_step,
            )
            while self.progress.epoch <= epochs and self.stopped is None:
                loop.run(resume_order(loader, restored, *self._steps.sources), length(loader))
                restored = None
                evaluation = None if validation is None else self._evaluate(validation, hidden)
                result = self.progress.end_epoch(evaluation)
                show(bar, result)
                for callback in callbacks:
                    callback.on_epoch_end(self, result)
                if interrupt.requested and distributed.world_size() == 1:  # in validation, or in a callback
                    after_last_step()
                    raise KeyboardInterrupt(f"stopped after epoch {result.epoch}")
        if self.stopped is not None:
            logger.info("stopped early: %s", self.stopped)
        for callback in callbacks:
            callback.on_fit_end(self)
        return list(self.progress.results)

    def stop(self, reason: str) -> None:
        """End :meth:`fit` after this epoch, as callbacks may ask for.

        Args:
            reason: Why; it is logged and kept in ``stopped``.
        """
        self.stopped = reason

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on exactly from here, in tensors and plain values."""
        return {
            "network": self.net.state_dict(),
            "feedback": self.feedback.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "progress": self.progress.state_dict(),
            "order": order_state(self._loader or (), within=self._loader is not None and self.progress.batches > 0),
            "random": random_state(*self._steps.sources),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there with the next :meth:`fit`.

        Args:
            state: What :meth:`state_dict` of a trainer like this one gave.

        Raises:
            ValueError: If it is of another network, optimizer or schedule, or is damaged; nothing has changed then.
        """
        try:
            progress = Progress.from_state(state["progress"])
            check_order(state["order"])
            with unchanged_on_error(self.net, self.feedback, self.optimizer, self.scheduler):
                self.net.load_state_dict(state["network"])
                self.feedback.load_state_dict(state["feedback"])
                self.optimizer.load_state_dict(state["optimizer"])
                if self.scheduler is not None:
                    self.scheduler.load_state_dict(state["scheduler"])
                check_numbers(self.net)
                check_moments(self.optimizer)
                check_random_state(state["random"], *self._steps.sources)
        except Exception as error:  # damage takes any form
            raise ValueError(f"the saved state does not fit this trainer: {type(error).__name__}, {error}") from error
        self._steps.progress = progress
        self._restored = state

    def evaluate(self, loader: Batches, *, seed: int = 0) -> Evaluation:
        """Test the network; its training state and torch's random numbers are left as they were.

        Args:
            loader: Yields ``(x, labels)`` batches.
            seed: Seeds torch's random numbers for the length of the test, so that encoding noise is the same each time.

        Raises:
            ValueError: If ``loader`` yields nothing, or a batch does not fit.
        """
        return self._evaluate(loader, hidden=True, seed=seed)

    def _evaluate(self, loader: Batches, hidden: bool | None, seed: int = 0) -> Evaluation:
        distributed.broadcast(self._buffers())
        with self.testing(seed):
            return evaluate(loader, self._intake, self.executor, hidden=hidden)

    def predict(self, x: Tensor, *, seed: int = 0) -> Tensor:
        """Classes of a batch: the argmax of the output rate y, ``[B]``.

        Args:
            x: A batch as :meth:`step` takes it.
            seed: As in :meth:`evaluate`.
        """
        return self.executor.rates(self.run(self.encode(x, seed=seed), seed=seed)).argmax(1)

    def encode(self, x: Tensor, *, seed: int | None = None) -> Tensor:
        """The network's input, as training makes it of a batch.

        Args:
            x: A batch as :meth:`step` takes it.
            seed: Seeds the noise, and leaves torch's random numbers and the encoder's generator as they were; drawn
                from them when None.

        Returns:
            ``[T, B, *]`` on the network's device.

        Raises:
            ValueError: If the batch does not fit, or what the encoder makes of it.
        """
        with nullcontext() if seed is None else seeded(seed, self.device, self.encoder):
            return self._intake.encode(x)

    def run(self, x: Tensor, *, seed: int = 0) -> Tensor:
        """What the network gives for an input, from rest, in evaluation mode and without learning.

        Args:
            x: The network's input, as :meth:`encode` makes it.
            seed: Of what the network may draw.

        Returns:
            What the loss looks at, output spikes as a rule, ``[T, B, K]``; ``[T, B, n·K]`` in a population code.
        """
        with self.testing(seed):
            return self.executor.run(x)

    def observe(self, x: Tensor, *, seed: int = 0) -> dict[str, Activity]:
        """What every spiking layer does while the network runs as in :meth:`run`: spikes and membranes by name."""
        return observe(self.net, lambda: self.run(x, seed=seed))

    @contextmanager
    def testing(self, seed: int = 0) -> Iterator[None]:
        """Inside the block the network is in evaluation mode, learns nothing, and noise is that of ``seed``."""
        check_numbers(self.net)
        training = self.net.training
        self.net.eval()
        try:
            with torch.no_grad(), seeded(seed, self.device, self.encoder):
                yield
        finally:
            self.net.train(training)
            reset_state(self.net)
