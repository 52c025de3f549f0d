"""What the layers are taught: class numbers, for a sample or for every step of it, or real-valued targets."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from snntorch_brp.encoding import check_labels
from snntorch_brp.propagation import Propagation
from snntorch_brp.runtime.verdicts import insist

EncodeTargets = Callable[[Tensor], Tensor]
"""Maps a batch of targets to K signals, ``[B, K]`` or, one for every step, ``[T, B, K]``."""


def check_targets(labels: Tensor, num_classes: int) -> Tensor:
    """Check what a network is to be taught.

    Args:
        labels: Class numbers, integers ``[B]`` or one for every step ``[T, B]``; or real-valued signals ``[B, K]`` or
            ``[T, B, K]``.
        num_classes: Number of classes, or signals, K.

    Returns:
        The labels, as :func:`snntorch_brp.encoding.check_labels` gives them back.

    Raises:
        ValueError: If they are neither; the message says what they are and what fits.
    """
    if isinstance(labels, Tensor) and labels.is_floating_point():
        if labels.dim() not in (2, 3) or labels.shape[-1] != num_classes or not labels.numel():
            raise ValueError(
                f"real-valued targets must be [B, K={num_classes}], or [T, B, K={num_classes}] with one for every "
                f"step, got {tuple(labels.shape)}: use labels.long() for class numbers, or bring targets of another "
                "shape to K signals with attach(..., encode_targets=lambda targets: ...)"
            )
        insist((~torch.isfinite(labels)).sum(), _tell_not_finite)
        return labels
    if isinstance(labels, Tensor) and labels.dim() == 2:
        return check_labels(labels.flatten(), num_classes).view_as(labels)
    return check_labels(labels, num_classes)


def _tell_not_finite(_: int) -> None:
    raise ValueError("the targets hold NaN or inf: clean the data")


def batch_of(labels: Tensor) -> int:
    """Number of samples in checked targets."""
    stepwise = labels.dim() == 3 if labels.is_floating_point() else labels.dim() == 2
    return labels.shape[1 if stepwise else 0]


def reads_classes(labels: Tensor) -> bool:
    """Whether checked targets tell classes: class numbers, or distributions over classes."""
    return not labels.is_floating_point() or _are_distributions(labels)


def target_signal(
    propagation: Propagation, labels: Tensor, *, num_classes: int, steps: int, dtype: torch.dtype
) -> Tensor:
    """The label ȳ that all layers receive.

    Args:
        propagation: The rule, which says how class numbers are sent (eq. 4).
        labels: Targets that :func:`check_targets` accepts.
        num_classes: Number of classes, or signals, K.
        steps: Number of time steps T.
        dtype: Data type of the result.

    Returns:
        ``[T, B, K]``, or ``[1, B, K]`` where it is the same at every step.

    Raises:
        ValueError: If there is a label for every step, but not for T steps; or if the rule reads classes and the
            targets are no distributions over them.
    """
    if labels.is_floating_point():
        signal = (labels if labels.dim() == 3 else labels[None]).to(dtype)
        if propagation.reads_classes and not reads_classes(labels):
            raise ValueError(
                f"{type(propagation).__name__} predicts classes, and the real-valued targets are no distributions over "
                "them: use BRP(), or ErrorProjection(), which send any target"
            )
    elif labels.dim() == 2:
        signal = F.one_hot(labels.long(), num_classes).to(dtype)
    else:
        return propagation.label(labels, num_classes, steps, dtype)
    if len(signal) not in (1, steps):
        raise ValueError(f"there are targets for {len(signal)} steps, but the network ran {steps}")
    return signal


def _are_distributions(signal: Tensor) -> bool:
    return bool((signal >= 0).all() and torch.allclose(signal.sum(-1), signal.new_ones(()), atol=1e-3))
