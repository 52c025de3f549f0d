"""How the layers are run: by the fast path where the network qualifies, else step by step under attach."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snntorch_brp.attachment import Attached
from snntorch_brp.fused import FusedEngine, NotFusible, declined
from snntorch_brp.neurons import reset_state
from snntorch_brp.sequence import spikes_of, unroll

logger = logging.getLogger(__name__)

Loss = Callable[[Tensor, Tensor], Tensor]
Engine = Literal["auto", "attach", "fused"]
Precision = Literal["float32", "bfloat16"]


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


class Executor:
    """Runs a network on spikes, with and without learning.

    Args:
        net: The network.
        attached: Its handle, with the rule.
        loss: Loss of the output spikes ``[T, B, K]`` and the labels ``[B]``.
        loops_inside: Whether ``net(x)`` runs all time steps.
        output: Name of the output neuron; the last where None.
        engine: "auto", "attach" or "fused".
        precision: "float32", or "bfloat16" for the products.

    Raises:
        ValueError: If the network does not qualify for the ``engine`` asked for, or an option is not known.
    """

    def __init__(
        self,
        net: nn.Module,
        attached: Attached,
        loss: Loss,
        *,
        loops_inside: bool,
        output: str | None,
        engine: Engine,
        precision: Precision,
    ) -> None:
        if engine not in ("auto", "attach", "fused"):
            raise ValueError(f"engine must be 'auto', 'attach' or 'fused', got {engine!r}")
        if precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision must be 'float32' or 'bfloat16', got {precision!r}")
        self.attached = attached
        self.net = net
        self.num_classes = attached.feedback.num_classes
        self.loss = loss
        self.loops_inside = loops_inside
        self.engine = engine
        self.precision = precision
        self._declined = ""
        self.fused = None if engine == "attach" else self._fuse(output)

    def _fuse(self, output: str | None) -> FusedEngine | None:
        """The fast path, where the network qualifies."""
        handle = self.attached
        try:
            if self.loops_inside:
                raise NotFusible(f"{type(self.net).__name__} loops over time itself")
            fused = FusedEngine(
                self.net,
                handle.propagation,
                num_classes=self.num_classes,
                loss_fn=self._scalar,
                consolidation=handle.consolidation,
                feedback=handle.feedback,
                reduction=handle.reduction,
                precision=self.precision,
            )
            if output not in (None, fused.layers[-1].name):
                raise NotFusible(f"the output '{output}' is not the last neuron, '{fused.layers[-1].name}'")
        except NotFusible as reason:
            if self.engine == "fused":
                raise
            logger.info(declined(reason))
            return None
        return fused

    def _scalar(self, spikes: Tensor, labels: Tensor) -> Tensor:
        """The loss, seen to be one that can be learned from."""
        loss: object = self.loss(spikes, labels)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise ValueError(f"loss must be a scalar tensor, got {got}: use loss.mean() or loss.sum()")
        if not loss.requires_grad:
            raise ValueError("loss does not depend on the network: compute it from the spikes that it is given")
        return loss

    def learn(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Fill the gradients from a batch of spikes; gives the loss and the output rate y ``[B, K]``."""
        if self.fused is not None:
            try:
                return self.fused.step(x, labels)
            except NotFusible as reason:  # the network has changed: it carries hooks, for one
                if self.engine == "fused":
                    raise
                if self._declined != str(reason):  # once
                    self._declined = str(reason)
                    logger.info(declined(reason))
        with self.attached as brp:
            spikes = self._spikes(x)
            loss = self._scalar(spikes, labels)
            brp.backward(loss, labels)
        return loss.detach(), spikes.detach().mean(0)

    def run(self, x: Tensor) -> Tensor:
        """Output spikes ``[T, B, K]`` of a batch of spikes, from rest, without learning."""
        if self.fused is not None:
            try:
                return self.fused.spikes(x)
            except NotFusible:
                if self.engine == "fused":
                    raise
        return self._spikes(x)

    def _spikes(self, x: Tensor) -> Tensor:
        try:
            with torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
                if self.loops_inside:
                    reset_state(self.net)
                    spikes = spikes_of(self.net(x))
                else:
                    spikes = unroll(self.net, x)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, TypeError, IndexError) as error:
            raise ValueError(
                f"an input of shape {tuple(x.shape)} and {x.dtype} does not fit the network: {error}"
            ) from error
        if spikes.dim() != 3 or spikes.shape[2] != self.num_classes:
            raise ValueError(
                f"the network must give spikes [T, B, K={self.num_classes}], got shape {tuple(spikes.shape)}"
                + (": does it take one step a call? Then say loops_inside=False" if spikes.dim() == 2 else "")
            )
        return spikes.float() if self.precision == "bfloat16" else spikes
