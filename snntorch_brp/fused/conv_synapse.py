"""A convolution over all steps and samples at once: sparse spikes by their events, others densely."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from snntorch_brp.fused import sparse_conv
from snntorch_brp.fused.synapse import (
    Saved,
    Synapse,
    accumulate,
    batched,
    first_pooling,
    register_stateless,
    register_synapse,
    unbatched,
)


class ConvSynapse(Synapse):
    """A Conv1d or Conv2d that comes last, behind modules without parameters; gradients go straight to ``.grad``."""

    def __init__(self, modules: Sequence[nn.Module], *, behind_neuron: bool) -> None:
        super().__init__(modules, behind_neuron=behind_neuron)
        assert isinstance(modules[-1], nn.Conv1d | nn.Conv2d)
        self.conv = modules[-1]
        self.receive(())

    def receive(self, shape: Sequence[int]) -> None:
        """Leave a first pooling to the neurons where they have a height and a width."""
        modules = list(self.modules)
        dimensions = 2 if isinstance(modules[0], nn.AvgPool1d) else 3
        self.pool = first_pooling(modules) if self.behind_neuron and len(shape) == dimensions else (1, 1)
        self._before = nn.Sequential(*modules[0 if self.pool == (1, 1) else 1 : -1])

    def preferred_input(self, dtype: torch.dtype, bf16_terms: int) -> tuple[tuple[int, int], torch.dtype]:
        """In one byte each, unless pooling makes fractions of them."""
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
            current = sparse_conv.convolve(z, self.conv, transient=transient) if sparse else self.conv(z)
            return unbatched(current, B, T), Saved(z, sparse=sparse)

    def backward(self, a: Tensor, saved: Saved) -> None:
        """See :class:`Synapse`."""
        gradients = sparse_conv.convolution_gradients if saved.sparse else _dense_gradients
        weight, bias = gradients(batched(a)[0], saved.source, self.conv)
        accumulate(self.conv.weight, weight)
        accumulate(self.conv.bias, bias)


def _dense_gradients(a: Tensor, z: Tensor, conv: nn.Conv1d | nn.Conv2d) -> tuple[Tensor, Tensor | None]:
    """∇W and ∇b, without the gradient of the input, which no local rule needs."""
    bias = conv.bias is not None
    shape = [conv.out_channels] if bias else None
    geometry = (conv.stride, conv.padding, conv.dilation, False, [0] * len(conv.stride), conv.groups)
    _, weight_grad, bias_grad = torch.ops.aten.convolution_backward(
        a, z, conv.weight, shape, *geometry, [False, True, bias]
    )
    return weight_grad, bias_grad


@register_synapse(nn.Conv2d)
@register_synapse(nn.Conv1d)
def _make(modules: Sequence[nn.Module], behind_neuron: bool) -> Synapse | None:
    """For a convolution that comes last and pads with zeros."""
    conv = modules[-1]
    if not isinstance(conv, nn.Conv1d | nn.Conv2d) or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        return None
    return ConvSynapse(modules, behind_neuron=behind_neuron)


for _module in (nn.Conv1d, nn.Conv2d):
    register_stateless(_module, fresh=True)
