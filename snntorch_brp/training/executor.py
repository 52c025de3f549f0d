"""How the layers are run: by the fast path where the network qualifies, else step by step under attach."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snntorch_brp.attachment import Attached, Online
from snntorch_brp.finite import LOOK, check_finite, check_membranes
from snntorch_brp.fused import FusedEngine, LoopedEngine, NotFusible, declined
from snntorch_brp.fused.engine import LossOn
from snntorch_brp.neurons import reset_state, spiking_layers
from snntorch_brp.propagation import Propagation
from snntorch_brp.rules import LocalRule, rule_named
from snntorch_brp.runtime.graph import reach
from snntorch_brp.sequence import membranes_of, spikes_of, unroll

logger = logging.getLogger(__name__)

Loss = Callable[[Tensor, Tensor], Tensor]
Credit = Literal["full", "instant", "trace"]
Engine = Literal["auto", "attach", "fused"]
Precision = Literal["float32", "bfloat16"]


def rate_mse(spikes: Tensor, labels: Tensor, *, num_classes: int | None = None) -> Tensor:
    """Mean squared error between the output rate y and the one-hot label, the paper's loss.

    Args:
        spikes: Output spikes, ``[T, B, K]``; or ``[T, B, n·K]`` of a population code, n neurons a class.
        labels: Class numbers, ``[B]``.
        num_classes: Number of classes K; as many as there are neurons when None.

    Returns:
        Mean over batch and classes, a scalar.
    """
    y = spikes.mean(0)
    if num_classes is not None:
        y = class_means(y, num_classes)
    return F.mse_loss(y, F.one_hot(labels, y.shape[1]).to(y.dtype))


def class_means(y: Tensor, num_classes: int) -> Tensor:
    """Rates ``[B, n·K]`` of a population code, class by class: ``[B, K]``, each the mean of its n neurons."""
    return y.unflatten(1, (num_classes, -1)).mean(-1)


def usual_credit(rule: Propagation | LocalRule) -> Credit:
    """How far back in time a gradient reaches unless something else is asked for: "trace" where there is no other way.

    Args:
        rule: What is sent, or a whole rule; a class or a name, as :func:`snntorch_brp.attach` takes, may stand for it.
    """
    made = rule_named(rule) if isinstance(rule, str) else rule() if isinstance(rule, type) else rule
    sent = made.propagation if isinstance(made, LocalRule) else made
    return "trace" if sent.spatial else "full"


class Executor:
    """Runs a network on spikes, with and without learning.

    Args:
        net: The network.
        attached: Its handle, with the rule; of :class:`Online` it learns while it runs, the output from
            :func:`rate_mse`.
        loss: Loss of what the network gives, ``[T, B, n·K]``, and the labels ``[B]``.
        loss_on: What of it: "spikes", or "membranes".
        loops_inside: Whether ``net(x)`` runs all time steps.
        engine: "auto", "attach" or "fused".
        precision: "float32", or "bfloat16" for the products.

    Raises:
        ValueError: If the network does not qualify for the ``engine`` asked for, or an option is not known.
    """

    def __init__(
        self,
        net: nn.Module,
        attached: Attached | Online,
        loss: Loss,
        *,
        loss_on: LossOn,
        loops_inside: bool,
        engine: Engine,
        precision: Precision,
    ) -> None:
        if engine not in ("auto", "attach", "fused"):
            raise ValueError(f"engine must be 'auto', 'attach' or 'fused', got {engine!r}")
        if precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision must be 'float32' or 'bfloat16', got {precision!r}")
        if loss_on not in ("spikes", "membranes"):
            raise ValueError(f"loss_on must be 'spikes' or 'membranes', got {loss_on!r}")
        self.loss_on = loss_on
        self.attached = attached
        self.net = net
        self.num_classes = attached.feedback.num_classes
        self.loss = loss
        self.loops_inside = loops_inside
        self.engine = engine
        self.precision = precision
        self.steps = 0  # time steps of the last input that was learned from
        self._declined = ""
        self.fused = None if engine == "attach" else self._fuse()

    def _fuse(self) -> FusedEngine | LoopedEngine | None:
        """The fast path, where the network qualifies; one with a ``forward`` of its own shows it at its first input."""
        handle = self.attached
        options = {
            "num_classes": self.num_classes,
            "loss_fn": self._of_output_alone,
            "loss_on": self.loss_on,
            "output": handle.output,
            "consolidation": handle.consolidation,
            "feedback": handle.feedback,
            "reduction": handle.reduction,
            "precision": self.precision,
        }
        try:
            if isinstance(handle, Online):
                raise NotFusible("it learns while the network runs, step by step")
            if isinstance(self.net, nn.Sequential) and not self.loops_inside:
                return FusedEngine(self.net, handle.propagation, **options)  # type: ignore[arg-type]
            return LoopedEngine(self.net, handle.propagation, loops_inside=self.loops_inside, **options)
        except NotFusible as reason:
            if self.engine == "fused":
                raise
            logger.info(declined(reason))
            return None

    def _scalar(self, given: Tensor, labels: Tensor) -> Tensor:
        """The loss, seen to be one that can be learned from."""
        if given.shape[1] not in labels.shape[:2]:  # [B, *], or [T, B, *] with one for every step
            raise ValueError(
                f"the network gives {self.loss_on} of {given.shape[1]} samples, and there are labels of shape "
                f"{tuple(labels.shape)}: a layer takes the samples for channels, or mixes them; layers must map [B, *] "
                "to [B, *]"
            )
        loss: object = self.loss(given, labels)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise ValueError(f"loss must be a scalar tensor, got {got}: use loss.mean() or loss.sum()")
        if not loss.requires_grad:
            raise ValueError("loss does not depend on the network: compute it from what it is given")
        return loss.reshape(())

    def _of_output_alone(self, given: Tensor, labels: Tensor) -> Tensor:
        """The loss, seen to teach nothing but the output, which is all that the fused engine can take into account."""
        loss = self._scalar(given, labels)
        own = {id(p) for p in self.net.parameters()}
        if not own.isdisjoint(reach([loss.grad_fn]).leaves):
            reason = "the loss depends on weights of the network themselves, and not only on its output"
            if self.engine != "fused":
                self.fused = None
                logger.info("attach runs the network from now on, and not the faster fused engine: %s", reason)
            raise NotFusible(reason)
        return loss

    def learn(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Fill the gradients from a batch of spikes; gives the loss and the output rate y ``[B, K]``."""
        self.steps = len(x)
        if self.fused is not None:
            try:
                result = self.fused.step(x, labels)
                self.steps = self.fused.steps
                return result
            except NotFusible as reason:  # the network has changed (it carries hooks, for one), or shows what it does
                if self.engine == "fused":
                    raise
                if self._declined != str(reason):  # once
                    self._declined = str(reason)
                    logger.info(declined(reason))
                if isinstance(self.fused, LoopedEngine) and not self.fused.steps:  # it never could
                    self.fused = None
        with torch.enable_grad(), self.attached as brp:  # as the fused engine, which needs none
            if isinstance(brp, Online):
                brp.teach(labels, steps=len(x))
                given = self._given(x)
                loss = self.loss(given, labels)
                brp.clear()
                return loss.detach(), self.rates(given.detach())
            given = self._given(x)
            with torch.autocast(x.device.type, enabled=False):  # whatever the caller has switched on
                loss = self._scalar(given, labels)
                brp.backward(loss, labels)
        return loss.detach(), self.rates(given.detach())

    def run(self, x: Tensor) -> Tensor:
        """What the loss looks at ``[T, B, n·K]``, for a batch of input, from rest; nothing is to be learned from it.

        A network that the fused engine cannot run, as one that carries hooks for as long as it is looked at, is run
        by its own modules: what comes out is the same.

        Raises:
            NotFinite: If a membrane or what the network gives is not finite.
        """
        if self.fused is not None:
            with contextlib.suppress(NotFusible):
                return self.fused.run(x)
        given = self._given(x)
        membranes = {name: getattr(layer, "mem", None) for name, layer in spiking_layers(self.net).items()}
        check_membranes({name: membrane for name, membrane in membranes.items() if isinstance(membrane, Tensor)})
        check_finite({"what the network gives": given}, LOOK)
        return given

    def rates(self, given: Tensor) -> Tensor:
        """The output rate y of each class, ``[B, K]``, of which the argmax is the class predicted.

        Of a loss on membranes it is their mean over time.
        """
        return class_means(given.mean(0), self.num_classes)

    def _given(self, x: Tensor) -> Tensor:
        part = spikes_of if self.loss_on == "spikes" else membranes_of
        try:
            with torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
                if self.loops_inside:
                    reset_state(self.net)
                    given = part(self.net(x))
                else:
                    given = unroll(self.net, x, part=part)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, TypeError, IndexError) as error:
            raise ValueError(
                f"an input of shape {tuple(x.shape)} and {x.dtype} does not fit the network: {error}"
            ) from error
        if given.dim() != 3 or given.shape[2] == 0 or given.shape[2] % self.num_classes:
            raise ValueError(
                f"the network must give {self.loss_on} [T, B, K={self.num_classes}], or a multiple of K in a "
                f"population code, got shape {tuple(given.shape)}"
                + (": does it take one step a call? Then say loops_inside=False" if given.dim() == 2 else "")
            )
        if given.shape[1] not in x.shape[slice(0 if self.loops_inside else 1, 2)]:
            raise ValueError(
                f"the network gives {self.loss_on} of {given.shape[1]} samples for an input of shape {tuple(x.shape)}: "
                "a layer takes the samples for channels, or mixes them; layers must map [B, *] to [B, *]"
            )
        return given.float() if self.precision == "bfloat16" else given
