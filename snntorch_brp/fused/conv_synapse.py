"""A convolution and its pooling, over all steps and samples at once: which synapse computes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from snntorch_brp.fused import matmul, sparse_conv, spike_conv
from snntorch_brp.fused.autograd_synapse import AutogradSynapse
from snntorch_brp.fused.block_synapse import BlockSynapse, stages_of
from snntorch_brp.fused.dense_conv_synapse import DenseConvSynapse
from snntorch_brp.fused.event_conv_synapse import EventConvSynapse
from snntorch_brp.fused.sparse_conv import NO_POOL, Pool
from snntorch_brp.fused.synapse import (
    Request,
    Saved,
    Synapse,
    batched,
    plain_windows,
    register_stateless,
    register_synapse,
    stateless,
    unbatched,
)
from snntorch_brp.weight_standardization import WSConv1d, WSConv2d


class ConvSynapse(Synapse):
    """A Conv1d or Conv2d behind modules without parameters, alone or with its outputs pooled.

    Each batch goes to the synapse that is fastest on it: event by event where few inputs are not 0, else dense.

    Args:
        modules: In the order in which they run.
        behind_neuron: A neuron comes before, and not the network's input.
        place: Where among the modules the convolution is.
        pool: What is done with its outputs.
    """

    def __init__(self, modules: Sequence[nn.Module], *, behind_neuron: bool, place: int, pool: Pool) -> None:
        super().__init__(modules, behind_neuron=behind_neuron)
        conv = modules[place]
        assert isinstance(conv, nn.Conv1d | nn.Conv2d)
        self.conv: nn.Conv1d | nn.Conv2d = conv
        self._place = place
        dense = DenseConvSynapse if pool == NO_POOL else AutogradSynapse
        self._dense = dense(modules[place:], behind_neuron=behind_neuron)
        self._events = EventConvSynapse(modules[place:], behind_neuron=behind_neuron, pool=pool)
        self.receive(())

    def receive(self, shape: Sequence[int]) -> None:
        """Leave a first pooling to the neurons where they have a height and a width."""
        self._before = nn.Sequential(*self.leave_pooling(list(self.modules)[: self._place], shape))

    def preferred_input(self, dtype: torch.dtype, bf16_terms: int) -> tuple[tuple[int, int], torch.dtype]:
        """In bfloat16 for products in it; else in one byte each, unless pooling makes fractions of them."""
        weight = self.conv.weight
        if weight.device.type != "cpu" and matmul.takes_bfloat16(weight, bf16_terms):
            return self.pool, torch.bfloat16
        return self.pool, torch.uint8 if self.pool == (1, 1) else dtype

    def forward(self, x: Tensor, request: Request) -> tuple[Tensor, Saved]:
        """See :class:`Synapse`."""
        z, (B, T) = batched(x)
        z = self._before(z.to(self.conv.weight.dtype) if z.dtype is torch.uint8 else z)
        by = self._events if sparse_conv.worth_it(z, self.conv) else self._dense
        current, saved = by.forward(unbatched(z, B, T), request)
        return current, replace(saved, by=by)

    def backward(self, a: Tensor, saved: Saved) -> None:
        """See :class:`Synapse`."""
        assert saved.by is not None
        saved.by.backward(a, saved)


@register_synapse(WSConv2d, norms=True)
@register_synapse(WSConv1d, norms=True)
@register_synapse(nn.Conv2d, norms=True)
@register_synapse(nn.Conv1d, norms=True)
def _make(modules: Sequence[nn.Module], behind_neuron: bool) -> Synapse | None:
    """For a convolution that pads with zeros and comes last, or before a pooling that does."""
    place = next(i for i, module in enumerate(modules) if isinstance(module, nn.Conv1d | nn.Conv2d))
    conv, after = modules[place], modules[place + 1 :]
    stages = stages_of(conv, after)
    if any(stateless(module).by_step for module in modules[:place]):
        return None
    if stages is not None and spike_conv.knows(conv):
        takes_spikes = behind_neuron and all(_keeps_spikes(module) for module in modules[:place])
        if takes_spikes or any(norm is not None for norm, _ in stages):
            return BlockSynapse(modules, behind_neuron=behind_neuron, place=place, stages=stages)
    if any(stateless(module).by_step for module in after):
        return None
    pool = _pool_after(conv, after)
    if pool is None or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        return None
    return ConvSynapse(modules, behind_neuron=behind_neuron, place=place, pool=pool)


def _keeps_spikes(module: nn.Module) -> bool:
    """Whether what a module makes of spikes are spikes."""
    return isinstance(module, nn.MaxPool1d | nn.MaxPool2d | nn.Identity)


def _pool_after(conv: nn.Module, after: Sequence[nn.Module]) -> Pool | None:
    """What a convolution's outputs go through, or None where it is more than a plain pooling."""
    if not after:
        return NO_POOL
    kinds = (nn.AvgPool1d, nn.MaxPool1d) if isinstance(conv, nn.Conv1d) else (nn.AvgPool2d, nn.MaxPool2d)
    if len(after) > 1 or not isinstance(after[0], kinds):
        return None
    height, width = plain_windows(after[0])
    maximum = isinstance(after[0], nn.MaxPool1d | nn.MaxPool2d)
    return Pool(height, width, maximum) if 1 < height * width <= 256 else None


for _module in (nn.Conv1d, nn.Conv2d, WSConv1d, WSConv2d):
    register_stateless(_module, fresh=True)
