"""A first layer that stands still: whitened patches of training images, in both polarities, that fire sparsely."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from snntorch_brp.initialization import patch_filters
from snntorch_brp.training.stages import PackedSpikes, split_behind

PATCH_SAMPLES = 1000  # training samples that filters and their currents' statistics are taken from
BATCH = 250
MEAN = -1.0  # of the currents before the maximum over places, in thresholds; their standard deviation is one
FIRST = "conv1_lif"  # the first layer's neurons


class FrozenFront:
    """The first layer of a network, made without labels and at rest ever after, and what it fires.

    Args:
        net: A network ``conv1, conv1_bn, ..., conv1_lif, ...``, whose first layer is changed in place.
        encoder: Samples to the network's input, ``[T, B, *]``.
        samples: Training samples, ``[N, *]``.
        generator: Draws the patches.

    Attributes:
        rest: The other layers, which learn.
        spikes: Encodes what :meth:`keep` gives.

    Raises:
        ValueError: If the network has no batch norm behind its first convolution.
    """

    @torch.no_grad()
    def __init__(
        self,
        net: nn.Sequential,
        encoder: Callable[[Tensor], Tensor],
        samples: Tensor,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        conv, bn = net[0], net[1]
        if not isinstance(conv, nn.Conv2d) or not isinstance(bn, nn.BatchNorm2d):
            raise ValueError(f"a frozen first layer is a convolution and its batch norm, got {conv} and {bn}")
        images = encoder(samples[:PATCH_SAMPLES])[0]
        patch_filters(conv, images, both_polarities=True, generator=generator)
        bn.momentum = None  # the statistics of all batches count alike
        bn.bias.fill_(MEAN)
        for some in images.split(BATCH):
            bn(conv(some))
        front, self.rest = split_behind(net, FIRST)
        front.requires_grad_(False)
        self.spikes = PackedSpikes(front, encoder, samples)

    def keep(self, part: TensorDataset, *, mirrored: bool = False) -> TensorDataset:
        """What the layer fires for samples, and their labels.

        Args:
            part: Samples ``[N, C, H, W]`` and labels.
            mirrored: Of their mirror images, too, behind them.
        """
        samples, labels = part.tensors
        kept = self.spikes.pack(samples)
        if not mirrored:
            return TensorDataset(kept, labels)
        return TensorDataset(torch.cat([kept, self.spikes.pack(samples.flip(3))]), labels.repeat(2))
