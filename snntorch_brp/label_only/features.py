"""Random-patch features: the spikes of a frozen convolution whose filters are whitened patches of training samples."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from snntorch_brp.fused import FusedEngine
from snntorch_brp.initialization import calibrate, patch_filters
from snntorch_brp.neurons import RefractoryLeaky
from snntorch_brp.propagation import OutputOnly
from snntorch_brp.surrogate import boxcar
from snntorch_brp.tasks.protocol import FrozenConv
from snntorch_brp.training import rate_mse

CALIBRATION_SAMPLES = 200  # that thresholds are set on
PATCH_SAMPLES = 2000  # that patches are drawn from
BATCH = 50


def neuron(*, half_width: float = 0.5) -> RefractoryLeaky:
    """The neuron of the study: the paper's, with a slower decay because there are few steps.

    Args:
        half_width: Of the boxcar pseudo-gradient around the threshold.
    """
    return RefractoryLeaky(beta=0.5, threshold=0.5, init_hidden=True, spike_grad=boxcar(half_width))


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


class Features:
    """The spike counts that a frozen convolution makes of samples.

    Args:
        sizes: Of the convolution.
        encoder: Samples ``[B, *]`` to the network's input, ``[T, B, C, H, W]``.
        samples: Training samples, from which filters and thresholds are taken, ``[N, *]``.
        both_polarities: Filters in pairs, one for a patch and one for its negative.

    Attributes:
        front: The convolution, its neurons and their pooling; takes one step a call.
        size: Number of features D.
    """

    def __init__(
        self,
        sizes: FrozenConv,
        encoder: Callable[[Tensor], Tensor],
        samples: Tensor,
        *,
        both_polarities: bool = False,
    ) -> None:
        self.encoder = encoder
        self.encode_counts = Counts(sizes.pool**2)
        images = torch.cat([encoder(some).mean(0) for some in samples[:PATCH_SAMPLES].split(BATCH)])
        conv = nn.Conv2d(images.shape[1], sizes.channels, sizes.kernel, padding=sizes.kernel // 2)
        generator = torch.Generator().manual_seed(0)
        patch_filters(conv, images, both_polarities=both_polarities, generator=generator)
        height, width = (size // sizes.pool for size in images.shape[2:])
        self.size = sizes.channels * height * width
        lif = neuron()
        calibrate(nn.Sequential(conv, lif), encoder(samples[:CALIBRATION_SAMPLES]))
        self.front = nn.Sequential(conv, lif, nn.AvgPool2d(sizes.pool), nn.Flatten())
        net = nn.Sequential(*self.front, nn.Linear(self.size, 2), neuron())  # the engine wants an output; it never runs
        self._engine = FusedEngine(net, OutputOnly(), num_classes=2, loss_fn=rate_mse)

    def counts(self, samples: Tensor) -> Tensor:
        """Spike counts of samples, ``[N, T, D]`` uint8."""
        first = self._counts(samples[:BATCH])
        counts = first.new_empty(len(samples), *first.shape[1:])  # filled piece by piece: it is the most of the memory
        for place, some in zip(counts.split(BATCH), samples.split(BATCH), strict=True):
            place.copy_(self._counts(some))
        return counts

    def _counts(self, samples: Tensor) -> Tensor:
        x = self.encoder(samples)
        self._engine.prepare(x)
        spikes = self._engine.forward_hidden(0, self._engine.cast_input(x))
        return (spikes.flatten(2).float() * self.encode_counts.pooled).round().to(torch.uint8).transpose(0, 1)
