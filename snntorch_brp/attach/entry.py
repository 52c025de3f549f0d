"""The way in: one call that puts a network under a rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

import torch
from torch import nn

from snntorch_brp.attach.attached import Attached
from snntorch_brp.attach.online import Online
from snntorch_brp.consolidation import Consolidation, PseudoGradient
from snntorch_brp.feedback import Feedback
from snntorch_brp.propagation import Propagation


@overload
def attach(
    net: nn.Module,
    propagation: Propagation,
    *,
    num_classes: int,
    consolidation: Consolidation | None = None,
    output: str | Sequence[str] | None = None,
    reduction: Literal["mean", "sum"] = "mean",
    credit: Literal["full"] = "full",
    generator: torch.Generator | None = None,
    feedback: Feedback | None = None,
) -> Attached: ...


@overload
def attach(
    net: nn.Module,
    propagation: Propagation,
    *,
    num_classes: int,
    consolidation: Consolidation | None = None,
    output: str | Sequence[str] | None = None,
    reduction: Literal["mean", "sum"] = "mean",
    credit: Literal["instant", "trace"],
    generator: torch.Generator | None = None,
    feedback: Feedback | None = None,
) -> Online: ...


def attach(
    net: nn.Module,
    propagation: Propagation,
    *,
    num_classes: int,
    consolidation: Consolidation | None = None,
    output: str | Sequence[str] | None = None,
    reduction: Literal["mean", "sum"] = "mean",
    credit: Literal["full", "instant", "trace"] = "full",
    generator: torch.Generator | None = None,
    feedback: Feedback | None = None,
) -> Attached | Online:
    """Put a network under a local learning rule for the length of a ``with`` block.

    The model is used unchanged and gives the same outputs; only ``loss.backward()`` becomes
    ``brp.backward(loss, labels)``. The handle is inert under ``torch.no_grad()`` and after ``net.eval()``.

    Args:
        net: Any module that contains at least two snnTorch neurons; it may loop over time itself, or be called once a
            step.
        propagation: What is sent to the hidden layers: ``BRP()``, ``RewardPrediction()``, ...
        num_classes: Number of classes K.
        consolidation: How a layer learns from it; ``PseudoGradient()`` when None.
        output: Name of the output layer's neuron, as in ``net.named_modules()``, or names, where there are several
            outputs (the first is the one that is compared with the label); when None, the last spiking layer to be
            called.
        reduction: "mean" takes hidden gradients as the mean over the batch, as the usual losses do, so that learning
            rates, clipping and DistributedDataParallel treat all layers alike; "sum" is the authors' code.
        credit: How far back in time a gradient reaches. "full": to the start of the sequence, when it is over.
            "instant" and "trace" are online, for label-only rules: the layers learn at every step while the network
            runs, and memory does not grow with the number of steps; see :class:`Online`.
        generator: Source of the feedback matrices' seed; torch's global generator when None.
        feedback: The feedback matrices themselves, to share them or to pool them (``Feedback(10, regions=4)``); drawn
            anew when None.

    Returns:
        The handle, a context manager with ``reset()`` and the ``feedback`` matrices; with ``backward(loss, labels)``
        for full credit, and ``teach(labels, steps=T)`` online.

    Raises:
        ValueError: If the network has fewer than two spiking layers, none of the name given, or one that cannot be
            trained in this way, or ``feedback`` is for another number of classes.

    Example:
        >>> net = nn.Sequential(
        ...     nn.Linear(784, 100), RefractoryLeaky(init_hidden=True),
        ...     nn.Linear(100, 10), RefractoryLeaky(init_hidden=True),
        ... )
        >>> x, labels = (torch.rand(20, 8, 784) < 0.3).float(), torch.arange(8)
        >>> with attach(net, BRP(), num_classes=10) as brp:
        ...     brp.reset()
        ...     spikes = torch.stack([net(x_t) for x_t in x])
        ...     loss = F.mse_loss(spikes.mean(0), F.one_hot(labels, 10).float())
        ...     brp.backward(loss, labels)
        >>> net[0].weight.grad.shape
        torch.Size([100, 784])
    """
    if credit not in ("full", "instant", "trace"):
        raise ValueError(f"credit must be 'full', 'instant' or 'trace', got {credit!r}")
    if feedback is not None and feedback.num_classes != num_classes:
        raise ValueError(f"the feedback is for {feedback.num_classes} classes, and num_classes is {num_classes}")
    handle: type[Attached] | type[Online] = Attached if credit == "full" else Online
    return handle(
        net,
        propagation,
        consolidation=consolidation or PseudoGradient(),
        output=output,
        reduction=reduction,
        feedback=feedback or Feedback(num_classes, generator=generator),
        **({} if credit == "full" else {"traces": credit == "trace"}),
    )
