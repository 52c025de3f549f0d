"""A frozen convolution that looks at every sample once: filters of whitened patches, no label, nothing learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snntorch_brp.fused import FusedEngine
from snntorch_brp.initialization import calibrate, patch_filters
from snntorch_brp.neurons import RefractoryLeaky
from snntorch_brp.propagation import OutputOnly
from snntorch_brp.surrogate import boxcar
from snntorch_brp.training import rate_mse

SEEN = 200  # samples that thresholds are set on
PATCHED = 2000  # samples that patches are drawn from
BATCH = 50


def leaky(*, reach: float = 0.5) -> RefractoryLeaky:
    """The neuron of the ladder: the paper's, with a longer memory for few steps.

    Args:
        reach: How far from the threshold its membrane still passes a gradient.
    """
    return RefractoryLeaky(beta=0.5, threshold=0.5, init_hidden=True, spike_grad=boxcar(reach))


@dataclass(frozen=True)
class Eye:
    """What the frozen convolution is made of.

    Attributes:
        channels: Number of filters.
        kernel: Their size.
        pool: Size and stride of the average pooling of its spikes.
    """

    channels: int
    kernel: int
    pool: int

    def __str__(self) -> str:
        """In the paper's notation."""
        return f"Conv{self.kernel}x{self.kernel}x{self.channels}-S{self.pool}"


class Counts:
    """Encoder: spike counts as they are kept, ``[B, T, D]`` uint8, to pooled spikes ``[T, B, D]``.

    Args:
        pooled: Number of neurons that were pooled.
    """

    def __init__(self, pooled: int) -> None:
        self.pooled = pooled

    def __call__(self, counts: Tensor) -> Tensor:
        """Spikes per neuron."""
        return counts.transpose(0, 1).float() / self.pooled


class Look:
    """An eye opened on a data set.

    Args:
        eye: What it is made of.
        encoder: Samples ``[B, *]`` to the network's input, ``[T, B, C, H, W]``.
        samples: Training samples, from which filters and thresholds are taken, ``[N, *]``.
        seed: Of the patches.
    """

    def __init__(self, eye: Eye, encoder: Callable[[Tensor], Tensor], samples: Tensor, *, seed: int = 0) -> None:
        self.encoder = encoder
        self.encode_counts = Counts(eye.pool**2)
        images = torch.cat([encoder(some).mean(0) for some in samples[:PATCHED].split(BATCH)])
        conv = nn.Conv2d(images.shape[1], eye.channels, eye.kernel, padding=eye.kernel // 2)
        patch_filters(conv, images, generator=torch.Generator().manual_seed(seed))
        height, width = (size // eye.pool for size in images.shape[2:])
        self.features = eye.channels * height * width
        neurons = leaky()
        calibrate(nn.Sequential(conv, neurons), encoder(samples[:SEEN]))
        behind = nn.Linear(self.features, 2)  # the engine asks for an output; it never runs
        net = nn.Sequential(conv, neurons, nn.AvgPool2d(eye.pool), nn.Flatten(), behind, leaky())
        self._engine = FusedEngine(net, OutputOnly(), num_classes=2, loss_fn=rate_mse)

    def at(self, samples: Tensor) -> Tensor:
        """What it sees: spike counts ``[N, T, D]`` uint8."""
        first = self._counts(samples[:BATCH])
        seen = first.new_empty(len(samples), *first.shape[1:])  # filled piece by piece: it is the most of the memory
        for place, some in zip(seen.split(BATCH), samples.split(BATCH), strict=True):
            place.copy_(self._counts(some))
        return seen

    def _counts(self, samples: Tensor) -> Tensor:
        x = self.encoder(samples)
        self._engine.prepare(x)
        spikes = self._engine.hand_over(0, self._engine.entering(x))
        return (spikes.flatten(2).float() * self.encode_counts.pooled).round().to(torch.uint8).transpose(0, 1)
