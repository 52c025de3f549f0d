"""Features on one scale, by constants measured once: what keeps a local rule from learning only their mean."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Standardize(nn.Module):
    """Each feature minus its mean, over its standard deviation; both are measured once, without labels, and fixed.

    Pooled spikes are all positive and vary little from sample to sample. A synapse that takes them as they are spends
    its learning on their mean, which says nothing of the class. The same constants serve in training and in testing,
    samples do not see each other, and a linear synapse behind it can swallow them (W/σ and b - Wμ/σ), so that what
    crosses between neurons remains spikes.

    Args:
        features: Number of features, the size of dimension 1.
        gain: Standard deviation after it.

    Raises:
        ValueError: If there are no features, or the gain is not positive.

    Example:
        >>> norm = Standardize(2, gain=1.0)
        >>> norm.measure(torch.tensor([[0.0, 1.0], [0.5, 3.0]]))
        >>> norm(torch.tensor([[0.25, 2.0]])).tolist()
        [[0.0, 0.0]]
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, features: int, *, gain: float = 0.3) -> None:
        super().__init__()
        if features < 1 or not gain > 0:
            raise ValueError(f"there must be features and a positive gain, got features={features}, gain={gain}")
        self.gain = gain
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    @torch.no_grad()
    def measure(self, rates: Tensor, *, floor: float = 0.02) -> None:
        """Take mean and standard deviation from samples.

        Args:
            rates: Mean rates of some samples over their steps, ``[B, features, *]``.
            floor: Added to the standard deviation, so that features that hardly ever change are not blown up.
        """
        over = [0, *range(2, rates.dim())]
        self.mean.copy_(rates.mean(over))
        self.scale.copy_(self.gain / (rates.std(over, correction=0) + floor))

    def forward(self, x: Tensor) -> Tensor:
        """``[B, features, *]`` to the same shape."""
        shape = (-1,) + (1,) * (x.dim() - 2)
        return (x - self.mean.to(x.dtype).view(shape)) * self.scale.to(x.dtype).view(shape)

    def extra_repr(self) -> str:
        """As in PyTorch's own modules."""
        return f"{len(self.mean)}, gain={self.gain}"
