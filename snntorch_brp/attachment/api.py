"""The way in: one call that puts a network under a rule."""

from __future__ import annotations

from typing import Literal, TypeVar, overload

import torch
from torch import nn

from snntorch_brp.attachment.full import Attached
from snntorch_brp.attachment.handle import OutputNames
from snntorch_brp.attachment.online import Online
from snntorch_brp.consolidation import Consolidation, PseudoGradient, consolidation_named
from snntorch_brp.feedback import Feedback
from snntorch_brp.propagation import Propagation
from snntorch_brp.rules import LocalRule, rule_named
from snntorch_brp.targets import EncodeTargets

R = TypeVar("R")

Rule = Propagation | LocalRule | type[Propagation] | type[LocalRule] | str


@overload
def attach(
    net: nn.Module,
    propagation: Rule,
    *,
    num_classes: int,
    consolidation: Consolidation | type[Consolidation] | str | None = None,
    output: OutputNames = None,
    reduction: Literal["mean", "sum"] = "mean",
    credit: Literal["full"] = "full",
    generator: torch.Generator | None = None,
    feedback: Feedback | None = None,
    encode_targets: EncodeTargets | None = None,
) -> Attached: ...


@overload
def attach(
    net: nn.Module,
    propagation: Rule,
    *,
    num_classes: int,
    consolidation: Consolidation | type[Consolidation] | str | None = None,
    output: OutputNames = None,
    reduction: Literal["mean", "sum"] = "mean",
    credit: Literal["instant", "trace"],
    generator: torch.Generator | None = None,
    feedback: Feedback | None = None,
) -> Online: ...


def attach(
    net: nn.Module,
    propagation: Rule,
    *,
    num_classes: int,
    consolidation: Consolidation | type[Consolidation] | str | None = None,
    output: OutputNames = None,
    reduction: Literal["mean", "sum"] = "mean",
    credit: Literal["full", "instant", "trace"] = "full",
    generator: torch.Generator | None = None,
    feedback: Feedback | None = None,
    encode_targets: EncodeTargets | None = None,
) -> Attached | Online:
    """Put a network under a local learning rule for the length of a ``with`` block.

    The model is used unchanged and gives the same outputs; only ``loss.backward()`` becomes
    ``brp.backward(loss, labels)``. The handle is inert under ``torch.no_grad()`` and after ``net.eval()``.

    Args:
        net: Any module that contains a hidden layer of snnTorch neurons; it may loop over time itself, or be called
            once a step.
        propagation: What is sent to the hidden layers: ``BRP()``, ``RewardPrediction()``, ...; or a whole rule of
            :mod:`snntorch_brp.rules`, such as ``DECOLLE()``, which says how a layer learns, too. A class or a name,
            such as "brp" or "decolle", stands for the rule with its usual options.
        num_classes: Number of classes K; for other targets the number of signals that are sent.
        consolidation: How a layer learns from it, likewise; ``PseudoGradient()`` when None.
        output: What is not hidden: a module or its name, or several (the first is the one that rules such as
            ErrorProjection compare with the label). When None it is found out in the first sequence: the spiking
            layers that the loss sees as they are and that feed no other layer; none, where the loss sees them through
            parameters behind them, as in a linear readout. Everything behind the last hidden neurons learns from the
            loss. Of a readout that does not spike, the softmax of its mean over time is compared with a label, and its
            mean over time with a real-valued target.
        reduction: "mean" takes hidden gradients as the mean over the batch, as the usual losses do, so that learning
            rates, clipping and DistributedDataParallel treat all layers alike; "sum" is the authors' code.
        credit: How far back in time a gradient reaches. "full": to the start of the sequence, when it is over.
            "instant" and "trace" are online: the layers learn at every step while the network runs, and memory does
            not grow with the number of steps; see :class:`Online`.
        generator: Source of the feedback matrices' seed; torch's global generator when None.
        feedback: The feedback matrices themselves, to share them or to pool them (``Feedback(10, regions=4)``); drawn
            anew when None.
        encode_targets: Maps what is given as labels to K real-valued signals, ``[B, K]`` or ``[T, B, K]``, which are
            sent in the label's place: for regression, autoencoders, or embeddings of the label. Not online.

    Returns:
        The handle, a context manager with ``reset()`` and the ``feedback`` matrices; with ``backward(loss, labels)``
        for full credit, and ``teach(labels, steps=T)`` online.

    Raises:
        TypeError: If an argument is of the wrong kind; the message says which kind it must be.
        ValueError: If the network has no spiking layer, none of the name given, or one that cannot be trained in this
            way, or ``feedback`` is for another number of classes.

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
    if isinstance(num_classes, bool) or not isinstance(num_classes, int):
        raise TypeError(f"num_classes must be a whole number, got {num_classes!r}")
    if feedback is not None and feedback.num_classes != num_classes:
        raise ValueError(f"the feedback is for {feedback.num_classes} classes, and num_classes is {num_classes}")
    if credit != "full" and encode_targets is not None:
        raise ValueError(f"credit='{credit}' takes class numbers alone: leave encode_targets out, or use credit='full'")
    if isinstance(propagation, str):
        propagation = rule_named(propagation)
    if isinstance(propagation, type) and issubclass(propagation, LocalRule):
        propagation = propagation()
    if isinstance(propagation, LocalRule):
        if consolidation is not None:
            raise ValueError(
                f"{type(propagation).__name__} says itself how a layer learns: leave consolidation out, or give what "
                f"it sends alone, attach(net, {type(propagation).__name__}().propagation, consolidation=...)"
            )
        consolidation, propagation = propagation.consolidation, propagation.propagation
    if isinstance(consolidation, str):
        consolidation = consolidation_named(consolidation)
    propagation = instance(propagation, Propagation, "propagation", "BRP()")  # type: ignore[type-abstract]
    consolidation = consolidation or PseudoGradient()
    consolidation = instance(consolidation, Consolidation, "consolidation", "PseudoGradient()")  # type: ignore[type-abstract]
    shared = {
        "consolidation": consolidation,
        "output": output,
        "reduction": reduction,
        "feedback": feedback or Feedback(num_classes, generator=generator),
    }
    if credit == "full":
        return Attached(net, propagation, encode_targets=encode_targets, **shared)
    return Online(net, propagation, traces=credit == "trace", **shared)


def instance(rule: object, kind: type[R], argument: str, example: str) -> R:
    """A rule, also where its class was given.

    Raises:
        TypeError: If it is no rule of the kind asked for.
    """
    made = rule() if isinstance(rule, type) and issubclass(rule, kind) else rule
    if not isinstance(made, kind):
        raise TypeError(f"{argument} must be a {kind.__name__} such as {example}, got {rule!r}")
    return made
