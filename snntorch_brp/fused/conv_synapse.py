"""A convolution and its pooling, over all steps and samples at once: sparse spikes by their events."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from snntorch_brp.fused import matmul, sparse_conv, spike_conv
from snntorch_brp.fused.block_synapse import BlockSynapse, passes_of
from snntorch_brp.fused.sparse_conv import NO_POOL, Pool
from snntorch_brp.fused.synapse import (
    Saved,
    Synapse,
    accumulate,
    batched,
    first_pooling,
    plain_windows,
    register_stateless,
    register_synapse,
    rounding,
    stateless,
    unbatched,
    weight_with_its_way_back,
)
from snntorch_brp.weight_standardization import WSConv1d, WSConv2d


class ConvSynapse(Synapse):
    """A Conv1d or Conv2d behind modules without parameters, alone or with its outputs pooled.

    Gradients go straight to ``.grad``. Behind a maximum only the winners' gradients count, and of the currents no more
    is kept than who won.

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
        self.after = pool
        self._place = place
        self._dense = nn.Sequential(*modules[place:])
        self.receive(())

    def receive(self, shape: Sequence[int]) -> None:
        """Leave a first pooling to the neurons where they have a height and a width."""
        before = list(self.modules)[: self._place]
        dimensions = 2 if before and isinstance(before[0], nn.AvgPool1d) else 3
        self.pool = first_pooling(before) if self.behind_neuron and len(shape) == dimensions else (1, 1)
        self._before = nn.Sequential(*(before if self.pool == (1, 1) else before[1:]))

    def preferred_input(self, dtype: torch.dtype, bf16_terms: int) -> tuple[tuple[int, int], torch.dtype]:
        """In bfloat16 for products in it; else in one byte each, unless pooling makes fractions of them."""
        weight = self.conv.weight
        if weight.device.type != "cpu" and matmul.takes_bfloat16(weight, bf16_terms):
            return self.pool, torch.bfloat16
        return self.pool, torch.uint8 if self.pool == (1, 1) else dtype

    def forward(
        self,
        x: Tensor,
        *,
        keep_for_backward: bool = True,
        input_grad: bool = False,
        transient: bool = False,
        bf16_terms: int = 3,
        repeats: int = 1,
    ) -> tuple[Tensor, Saved]:
        """See :class:`Synapse`."""
        with torch.no_grad():
            z, (B, T) = batched(x)
            z = self._before(z.to(self.conv.weight.dtype) if z.dtype is torch.uint8 else z)
            sparse = sparse_conv.worth_it(z, self.conv)
            if sparse or self.after == NO_POOL:
                weight = weight_with_its_way_back(self.conv)
            if sparse:
                current, winners = sparse_conv.convolve(
                    z, self.conv, weight=weight, pool=self.after, transient=transient
                )
                return unbatched(current, B, T), Saved(z, weight, sparse=True, winners=winners)
            if self.after == NO_POOL:
                z, laid_out = _laid_out(z, weight)
                with rounding(z, bf16_terms):
                    return unbatched(self.conv._conv_forward(z, laid_out, self.conv.bias), B, T), Saved(z, weight)
        with torch.set_grad_enabled(keep_for_backward), rounding(z, bf16_terms):
            current = unbatched(self._dense(z), B, T)
        return current.detach(), Saved(z, current=current)

    def backward(self, a: Tensor, saved: Saved) -> None:
        """See :class:`Synapse`."""
        if saved.current is not None:
            if saved.current.requires_grad:
                saved.current.backward(a)
            return
        a = batched(a)[0]
        weight: Tensor
        bias: Tensor | None
        if saved.sparse:
            weight, bias = sparse_conv.convolution_gradients(
                a, saved.source, self.conv, pool=self.after, winners=saved.winners
            )
        else:
            weight, bias = _dense_gradients(a, saved.source, self.conv)
        accumulate(saved.weight, weight)
        accumulate(self.conv.bias, bias)


FEW_CHANNELS = 2  # of the input; with more, oneDNN is as fast on the usual layout


def _laid_out(z: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Images and weights with channels last in memory, where that is several times as fast."""
    if z.dim() != 4 or z.shape[1] > FEW_CHANNELS or z.device.type != "cpu":
        return z, weight
    return _channels_last(z), _channels_last(weight)


def _channels_last(x: Tensor) -> Tensor:
    """With strides that say so: PyTorch's own ``contiguous`` leaves those of a single channel as they are."""
    return x.movedim(1, -1).contiguous().view(-1).as_strided(x.shape, (x[0].numel(), 1, x[0, :, 0].numel(), x.shape[1]))


def _dense_gradients(a: Tensor, z: Tensor, conv: nn.Conv1d | nn.Conv2d) -> tuple[Tensor, Tensor | None]:
    """∇W and ∇b, without the gradient of the input, which no local rule needs."""
    bias = conv.bias is not None
    shape = [conv.out_channels] if bias else None
    geometry = (conv.stride, conv.padding, conv.dilation, False, [0] * len(conv.stride), conv.groups)
    z, weight = _laid_out(z.to(a.dtype), conv.weight.to(a.dtype))
    _, weight_grad, bias_grad = torch.ops.aten.convolution_backward(a, z, weight, shape, *geometry, [False, True, bias])
    return weight_grad, bias_grad


@register_synapse(WSConv2d, norms=True)
@register_synapse(WSConv1d, norms=True)
@register_synapse(nn.Conv2d, norms=True)
@register_synapse(nn.Conv1d, norms=True)
def _make(modules: Sequence[nn.Module], behind_neuron: bool) -> Synapse | None:
    """For a convolution that pads with zeros and comes last, or before a pooling that does."""
    place = next(i for i, module in enumerate(modules) if isinstance(module, nn.Conv1d | nn.Conv2d))
    conv, after = modules[place], modules[place + 1 :]
    passes = passes_of(conv, after)
    if any(stateless(module).by_step for module in modules[:place]):
        return None
    if passes is not None and spike_conv.knows(conv):
        takes_spikes = behind_neuron and all(_keeps_spikes(module) for module in modules[:place])
        if takes_spikes or any(norm is not None for norm, _ in passes):
            return BlockSynapse(modules, behind_neuron=behind_neuron, place=place, passes=passes)
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
