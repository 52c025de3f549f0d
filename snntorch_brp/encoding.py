"""From intensities and labels to spike trains (eqs. 3 and 4)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from snntorch_brp.runtime.verdicts import insist, verdicts_are_open


def rate_encode(
    intensity: Tensor, steps: int, *, alpha: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """Spike trains whose rate follows the intensity (eq. 3)::

        X_t = 1 where I > α u,  u ~ U(0, 1) drawn afresh for every element and step

    so that an element fires with probability ``min(I / α, 1)``: a small α makes dim inputs fire.

    Args:
        intensity: Raw input in 0..1, any shape ``[...]``.
        steps: Number of time steps T.
        alpha: The paper's α, positive.
        generator: Source of u, on the device of ``intensity``.

    Returns:
        Spikes 0 or 1, ``[T, ...]``, in the input's dtype and on its device.

    Raises:
        ValueError: If ``steps`` or ``alpha`` is not positive, or ``intensity`` is not floating point.

    Example:
        >>> rate_encode(torch.tensor([0.0, 1.0]), steps=3).tolist()
        [[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if not alpha > 0:
        raise ValueError(f"alpha must be positive, got {alpha}")
    if not intensity.is_floating_point():
        raise ValueError(f"intensity must be floating point in 0..1, got {intensity.dtype}: use x.float() / 255")
    u = torch.rand(steps, *intensity.shape, generator=generator, device=intensity.device, dtype=intensity.dtype)
    return (intensity > alpha * u).to(intensity.dtype)


@dataclass(frozen=True)
class RateEncoder:
    """:func:`rate_encode` with its settings, ready to be handed to a trainer.

    Example:
        >>> encode = RateEncoder(steps=20)
        >>> encode(torch.rand(50, 1, 28, 28)).shape
        torch.Size([20, 50, 1, 28, 28])
    """

    steps: int
    alpha: float = 1.0
    generator: torch.Generator | None = field(default=None, kw_only=True)
    _looked: list[bool] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        rate_encode(torch.zeros(0), self.steps, alpha=self.alpha)  # raises on bad settings now, not in training

    def __call__(self, intensity: Tensor) -> Tensor:
        """Encode a batch ``[B, ...]`` in 0..1 to spikes ``[T, B, ...]``; warns if the first batch is in 0..255."""
        if not self._looked and intensity.numel():
            self._looked.append(True)
            highest = float(intensity.max())
            if highest > _BEYOND:
                warnings.warn(
                    f"RateEncoder got values up to {highest:g}, and encodes intensities in 0..1: all above α = "
                    f"{self.alpha:g} fire at every step. Use x / 255 for images of bytes, or alpha={highest:g}",
                    stacklevel=2,
                )
        return rate_encode(intensity, self.steps, alpha=self.alpha, generator=self.generator)


_BEYOND = 2.0  # what rounding or an interpolation leaves above 1 is not worth a word


@dataclass(frozen=True)
class DirectEncoder:
    """Direct coding: the analog input itself is the first layer's input at every step, and its neurons make the spikes.

    The steps share one memory, and the fused engine computes the first synapse once for all of them.

    Args:
        steps: Number of time steps T.
        standardize: Give every sample mean 0 and standard deviation 1 first, as an eye adapts to the light.

    Raises:
        ValueError: If ``steps`` is not positive.

    Example:
        >>> DirectEncoder(steps=6)(torch.rand(50, 3, 32, 32)).shape
        torch.Size([6, 50, 3, 32, 32])
    """

    steps: int
    standardize: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")

    def __call__(self, x: Tensor) -> Tensor:
        """A batch ``[B, ...]`` to ``[T, B, ...]``."""
        if not x.is_floating_point():
            raise ValueError(f"x must be floating point, got {x.dtype}: use x.float() / 255 for images of bytes")
        if self.standardize:
            flat = x.flatten(1)
            flat = (flat - flat.mean(1, keepdim=True)) / flat.std(1, keepdim=True, correction=0).clamp(min=_EVEN)
            x = flat.view_as(x)
        return x.expand(self.steps, *x.shape)


_EVEN = 0.05  # standard deviation below which a sample counts as even, and its noise is not blown up


_known: ContextVar[Tensor | None] = ContextVar("labels that were checked", default=None)


@contextmanager
def labels_checked(labels: Tensor) -> Iterator[None]:
    """Inside the block :func:`check_labels` takes these labels as they are: looking at values waits for a GPU."""
    token = _known.set(labels)
    try:
        yield
    finally:
        _known.reset(token)


def check_labels(labels: Tensor, num_classes: int) -> Tensor:
    """Raise a ValueError unless ``labels`` is an integer vector ``[B]`` of classes 0..K-1.

    Returns:
        The labels. Where the answer lies on a device that is asked later (:mod:`snntorch_brp.runtime.verdicts`) they
        are brought into 0..K-1, so that nothing fails on them before.
    """
    if labels is not None and labels is _known.get():
        return labels
    if not isinstance(labels, Tensor) or labels.dim() != 1 or labels.numel() == 0:
        got = tuple(labels.shape) if isinstance(labels, Tensor) else type(labels).__name__
        raise ValueError(f"labels must be a non-empty vector [B] of class numbers, got {got}")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype is torch.bool:
        raise ValueError(f"labels must be integers, got {labels.dtype}: use labels.long()")
    insist(((labels < 0) | (labels >= num_classes)).sum(), lambda _: _tell_range(labels, num_classes))
    return labels.clamp(0, num_classes - 1) if verdicts_are_open() and labels.device.type != "cpu" else labels


def _tell_range(labels: Tensor, num_classes: int) -> None:
    low, high = torch.stack(labels.aminmax()).tolist()
    raise ValueError(f"labels must lie in 0..{num_classes - 1} (num_classes={num_classes}), got {low}..{high}")


def label_spikes(
    labels: Tensor,
    num_classes: int,
    steps: int,
    *,
    rate: float = 1.0,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The label as spike trains (eq. 4): the neuron of the right class fires, all others are silent.

    Args:
        labels: Class numbers, integers ``[B]`` in 0..K-1.
        num_classes: Number of classes K.
        steps: Number of time steps T.
        rate: Probability that the label neuron fires at a step; 1 is one-hot at every step.
        generator: Source of the Bernoulli draws, on the device of ``labels``.
        dtype: Data type of the result.

    Returns:
        Label_spikes(t), ``[T, B, K]``; its mean over T is the paper's ȳ.

    Raises:
        ValueError: If the labels, ``steps`` or ``rate`` are out of range.

    Example:
        >>> label_spikes(torch.tensor([1]), 3, 2).tolist()
        [[[0.0, 1.0, 0.0]], [[0.0, 1.0, 0.0]]]
    """
    check_labels(labels, num_classes)
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if not 0 < rate <= 1:
        raise ValueError(f"rate must lie in (0, 1], got {rate}")
    spikes = F.one_hot(labels.long(), num_classes).to(dtype).expand(steps, -1, -1)
    if rate == 1:
        return spikes  # one row seen T times: no copy
    fires = torch.rand(steps, len(labels), 1, generator=generator, device=labels.device) < rate
    return spikes * fires.to(dtype)
