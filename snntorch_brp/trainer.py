"""Training and testing a spiking network under a local rule (Algorithm 1 of the paper)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from snntorch_brp.attach import attach
from snntorch_brp.consolidation import Consolidation
from snntorch_brp.encoding import check_labels
from snntorch_brp.fused import FusedEngine, NotFusible
from snntorch_brp.neurons import reset_state
from snntorch_brp.propagation import BRP, Propagation
from snntorch_brp.unroll import spikes_of, unroll

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

Loss = Callable[[Tensor, Tensor], Tensor]
Batches = Iterable[Sequence[Tensor]]


def rate_mse(spikes: Tensor, labels: Tensor) -> Tensor:
    """Mean squared error between the output rate y and the one-hot label, the paper's loss.

    Args:
        spikes: Output spikes, ``[T, B, K]``.
        labels: Class numbers, ``[B]``.

    Returns:
        Mean over batch and classes, a scalar.
    """
    y = spikes.mean(0)
    return F.mse_loss(y, F.one_hot(labels, y.shape[1]).to(y.dtype))


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
        """The figures as a flat dictionary, for a table or a log."""
        row = {"epoch": self.epoch, "loss": self.loss, "accuracy": self.accuracy, "seconds": self.seconds}
        if self.validation is not None:
            row |= {"validation_loss": self.validation.loss, "validation_accuracy": self.validation.accuracy}
        return row


class Callback:
    """What can be plugged into :meth:`BRPTrainer.fit`; override the methods that you need."""

    def on_step_end(self, trainer: BRPTrainer, result: StepResult) -> None:
        """After every training step."""

    def on_epoch_end(self, trainer: BRPTrainer, result: EpochResult) -> None:
        """After every epoch and its validation."""


@dataclass
class _Tally:
    """Running sums of what steps report."""

    loss: float = 0.0
    correct: int = 0
    count: int = 0

    def add(self, step: StepResult) -> None:
        self.loss += step.loss * step.count
        self.correct += step.correct
        self.count += step.count

    @property
    def means(self) -> tuple[float, float]:
        return self.loss / self.count, self.correct / self.count


class BRPTrainer:
    """Trains a snnTorch network without backpropagation between its layers.

    Args:
        net: An ``nn.Sequential`` that takes one step a call, or a module that loops over time itself.
        num_classes: Number of classes K.
        propagation: What is sent to the hidden layers; ``BRP()`` when None.
        consolidation: How a layer learns from it; ``PseudoGradient()`` when None.
        optimizer: Any PyTorch optimizer on the network's parameters; the paper's Adam at 1e-4 when None.
        scheduler: Any PyTorch learning-rate schedule on that optimizer; it advances with every training step.
        encoder: Maps a batch, already on the network's device, to the network's input, such as
            ``RateEncoder(steps=20)``; None for data that is spikes already, time first.
        loss: Loss of the output spikes ``[T, B, K]`` and the labels ``[B]``; :func:`rate_mse` when None.
        loops_inside: Whether ``net(x)`` runs all time steps; when None, everything but an ``nn.Sequential`` does.
        output: Name of the output neuron; the last spiking layer to be called when None.
        engine: "fused" runs sequential networks layer by layer (:mod:`snntorch_brp.fused`) and says which module is in
            the way where it cannot; "attach" runs any network step by step; "auto" takes the first that can. Both give
            the same gradients.
        generator: Source of the feedback matrices' seed.

    Raises:
        ValueError: If the network has fewer than two spiking layers, or does not qualify for the ``engine`` asked for.

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
        propagation: Propagation | None = None,
        consolidation: Consolidation | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
        encoder: Callable[[Tensor], Tensor] | None = None,
        loss: Loss | None = None,
        loops_inside: bool | None = None,
        output: str | None = None,
        engine: Literal["auto", "attach", "fused"] = "auto",
        generator: torch.Generator | None = None,
    ) -> None:
        self.net = net
        self.num_classes = num_classes
        self.optimizer = optimizer or torch.optim.Adam(net.parameters(), lr=1e-4)
        self.scheduler = scheduler
        self.encoder = encoder
        self.loss = loss or rate_mse
        self.loops_inside = not isinstance(net, nn.Sequential) if loops_inside is None else loops_inside
        self.attached = attach(
            net,
            propagation or BRP(),
            num_classes=num_classes,
            consolidation=consolidation,
            output=output,
            generator=generator,
        )
        self.engine = engine
        self._fused = self._fuse(output)

    def _fuse(self, output: str | None) -> FusedEngine | None:
        """The fast path, where the network qualifies."""
        if self.engine not in ("auto", "attach", "fused"):
            raise ValueError(f"engine must be 'auto', 'attach' or 'fused', got {self.engine!r}")
        if self.engine == "attach":
            return None
        handle = self.attached
        try:
            if self.loops_inside:
                raise NotFusible(f"{type(self.net).__name__} loops over time itself")
            fused = FusedEngine(
                self.net,
                handle.propagation,
                num_classes=self.num_classes,
                loss_fn=self.loss,
                consolidation=handle.consolidation,
                feedback=handle.feedback,
                reduction=handle.reduction,
            )
            if output not in (None, fused.layers[-1].name):
                raise NotFusible(f"the output '{output}' is not the last neuron, '{fused.layers[-1].name}'")
        except NotFusible as reason:
            if self.engine == "fused":
                raise
            logger.info("attach runs the network, and not the faster fused engine: %s", reason)
            return None
        return fused

    @property
    def device(self) -> torch.device:
        """Where the network is, and where batches are moved to."""
        return next(self.net.parameters()).device

    def step(self, x: Tensor, labels: Tensor) -> StepResult:
        """Learn from one batch: reset, run all T steps, propagate, consolidate, one optimizer step.

        Args:
            x: A batch as the loader gives it: for an encoder, or spikes ``[T, B, *]``.
            labels: Class numbers, integers ``[B]``.

        Raises:
            ValueError: If the batch does not fit; the message says why. The weights have not changed then.
        """
        x, labels = self._checked(x, labels)
        self.net.train()
        self.optimizer.zero_grad()
        loss, y = self._learn(x, labels)
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()
        return StepResult(loss.item(), int((y.argmax(1) == labels).sum()), len(labels))

    def fit(
        self,
        loader: Batches,
        *,
        epochs: int,
        validation: Batches | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool = True,
    ) -> list[EpochResult]:
        """Train for some epochs.

        Args:
            loader: Yields ``(x, labels)`` batches; the last may be smaller.
            epochs: Number of passes over ``loader``.
            validation: Batches to evaluate on after every epoch.
            callbacks: Called after every step and epoch.
            progress: Show a progress bar with loss and accuracy.

        Returns:
            One result an epoch.

        Raises:
            ValueError: If ``epochs`` is not positive, or ``loader`` yields nothing.
        """
        if epochs < 1:
            raise ValueError(f"epochs must be at least 1, got {epochs}")
        results = []
        for epoch in range(1, epochs + 1):
            start, tally = time.perf_counter(), _Tally()
            with tqdm(loader, desc=f"epoch {epoch}/{epochs}", disable=not progress, leave=epoch == epochs) as bar:
                for x, labels in bar:
                    result = self.step(x, labels)
                    tally.add(result)
                    loss, accuracy = tally.means
                    bar.set_postfix(loss=f"{loss:.4f}", accuracy=f"{accuracy:.1%}", refresh=False)
                    for callback in callbacks:
                        callback.on_step_end(self, result)
            if not tally.count:
                raise ValueError("the loader yields no batches: is the data set empty, or the loader used up?")
            seconds = time.perf_counter() - start
            evaluation = None if validation is None else self.evaluate(validation)
            results.append(EpochResult(epoch, *tally.means, seconds, evaluation))
            for callback in callbacks:
                callback.on_epoch_end(self, results[-1])
        return results

    def evaluate(self, loader: Batches, *, seed: int = 0) -> Evaluation:
        """Test the network; its training state and torch's random numbers are left as they were.

        Args:
            loader: Yields ``(x, labels)`` batches.
            seed: Seeds torch's random numbers for the length of the test, so that encoding noise is the same each time.

        Raises:
            ValueError: If ``loader`` yields nothing, or a batch does not fit.
        """
        tally = _Tally()
        confusion = torch.zeros(self.num_classes, self.num_classes, dtype=torch.long)
        with self._testing(seed):
            for batch in loader:
                x, labels = self._checked(*batch)
                spikes = self._run(x, labels)
                predicted = spikes.mean(0).argmax(1)
                pairs = (labels * self.num_classes + predicted).cpu()
                confusion += pairs.bincount(minlength=confusion.numel()).view_as(confusion)
                tally.add(StepResult(float(self.loss(spikes, labels)), 0, len(labels)))
        if not tally.count:
            raise ValueError("the loader yields no batches: is the data set empty, or the loader used up?")
        return Evaluation(tally.means[0], confusion)

    def predict(self, x: Tensor, *, seed: int = 0) -> Tensor:
        """Classes of a batch: the argmax of the output rate y, ``[B]``.

        Args:
            x: A batch as :meth:`step` takes it.
            seed: As in :meth:`evaluate`.
        """
        with self._testing(seed):
            return self._run(_finite(x.to(self.device))).mean(0).argmax(1)

    @contextmanager
    def _testing(self, seed: int) -> Iterator[None]:
        training = self.net.training
        devices = [self.device] if self.device.type == "cuda" else []
        self.net.eval()
        try:
            with torch.no_grad(), torch.random.fork_rng(devices):
                torch.manual_seed(seed)
                yield
        finally:
            self.net.train(training)
            reset_state(self.net)

    def _checked(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        check_labels(labels, self.num_classes)
        return _finite(x.to(self.device)), labels.to(self.device).long()

    def _learn(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Fill the gradients; gives the loss and the output rate y ``[B, K]``."""
        x = self._encoded(x, labels)
        if self._fused is not None:
            try:
                return self._fused.step(x, labels)
            except NotFusible:  # the network has changed: it carries hooks, for one
                if self.engine == "fused":
                    raise
        with self.attached as brp:
            spikes = self._spikes(x)
            loss = self.loss(spikes, labels)
            brp.backward(loss, labels)
        return loss.detach(), spikes.detach().mean(0)

    def _run(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Output spikes ``[T, B, K]`` of a batch, from rest, without learning."""
        x = self._encoded(x, labels)
        if self._fused is not None:
            try:
                return self._fused.spikes(x)
            except NotFusible:
                if self.engine == "fused":
                    raise
        return self._spikes(x)

    def _encoded(self, x: Tensor, labels: Tensor | None) -> Tensor:
        if self.encoder is not None:
            x = self.encoder(x)
        if not self.loops_inside and labels is not None and (x.dim() < 2 or x.shape[1] != len(labels)):
            raise ValueError(
                f"x must be time first, [T, B={len(labels)}, ...], got shape {tuple(x.shape)}: give "
                "encoder=RateEncoder(steps=20) for images, or x.transpose(0, 1) for batch-first spikes"
            )
        return x

    def _spikes(self, x: Tensor) -> Tensor:
        if self.loops_inside:
            reset_state(self.net)
            spikes = spikes_of(self.net(x))
        else:
            spikes = unroll(self.net, x)
        if spikes.dim() != 3 or spikes.shape[2] != self.num_classes:
            raise ValueError(
                f"the network must give spikes [T, B, K={self.num_classes}], got shape {tuple(spikes.shape)}"
                + (": does it take one step a call? Then say loops_inside=False" if spikes.dim() == 2 else "")
            )
        return spikes


def _finite(x: Tensor) -> Tensor:
    if not x.numel():
        raise ValueError(f"x is an empty batch, shape {tuple(x.shape)}")
    if not torch.isfinite(x).all():
        bad = int((~torch.isfinite(x)).sum())
        raise ValueError(f"x holds {bad} values that are NaN or inf, of {x.numel()}: clean the data")
    return x
