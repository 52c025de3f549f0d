"""A convolution over all steps and samples at once, as PyTorch computes it, without the gradient of its input."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from snntorch_brp.fused.synapse import (
    Request,
    Saved,
    Synapse,
    accumulate,
    batched,
    rounding,
    unbatched,
    weight_with_its_way_back,
)

FEW_CHANNELS = 2  # of the input; with more, oneDNN is as fast on the usual layout


class DenseConvSynapse(Synapse):
    """A Conv1d or Conv2d alone; its gradient goes straight to ``.grad``."""

    def __init__(self, modules: Sequence[nn.Module], *, behind_neuron: bool) -> None:
        super().__init__(modules, behind_neuron=behind_neuron)
        (conv,) = modules
        assert isinstance(conv, nn.Conv1d | nn.Conv2d)
        self.conv: nn.Conv1d | nn.Conv2d = conv

    def forward(self, x: Tensor, request: Request) -> tuple[Tensor, Saved]:
        """See :class:`Synapse`."""
        z, (B, T) = batched(x)
        weight = weight_with_its_way_back(self.conv)
        z, laid_out = _laid_out(z, weight.detach())
        with torch.no_grad(), rounding(z, request.bf16_terms):
            current = self.conv._conv_forward(z, laid_out, self.conv.bias)
        return unbatched(current, B, T), Saved(z, weight)

    def backward(self, a: Tensor, saved: Saved) -> None:
        """See :class:`Synapse`."""
        conv, a = self.conv, batched(a)[0]
        shape = None if conv.bias is None else [conv.out_channels]
        geometry = (conv.stride, conv.padding, conv.dilation, False, [0] * len(conv.stride), conv.groups)
        z, laid_out = _laid_out(saved.source.to(a.dtype), conv.weight.to(a.dtype))
        wanted = [False, True, shape is not None]
        _, weight, bias = torch.ops.aten.convolution_backward(a, z, laid_out, shape, *geometry, wanted)
        accumulate(saved.weight, weight)
        accumulate(conv.bias, bias)


def _laid_out(z: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Images and weights with channels last in memory, where that is several times as fast."""
    if z.dim() != 4 or z.shape[1] > FEW_CHANNELS or z.device.type != "cpu":
        return z, weight
    return _channels_last(z), _channels_last(weight)


def _channels_last(x: Tensor) -> Tensor:
    """With strides that say so: PyTorch's own ``contiguous`` leaves those of a single channel as they are."""
    return x.movedim(1, -1).contiguous().view(-1).as_strided(x.shape, (x[0].numel(), 1, x[0, :, 0].numel(), x.shape[1]))
