"""A Linear, as one product over all steps and samples each way: spike by spike where they are few, else dense."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snntorch_brp.fused import event_matmul, matmul
from snntorch_brp.fused.buffers import recycled
from snntorch_brp.fused.synapse import (
    Request,
    Saved,
    Synapse,
    accumulate,
    batched,
    pooled_spikes,
    pools,
    register_stateless,
    register_synapse,
    unbatched,
    weight_with_its_way_back,
)
from snntorch_brp.standardize import Standardize
from snntorch_brp.weight_standardization import WSLinear


@dataclass
class SavedProduct(Saved):
    """Beside input and weight, how the product was taken: spike by spike, or how precisely in bfloat16."""

    by_events: bool = False
    bf16_terms: int = 3


class LinearSynapse(Synapse):
    """A Linear that comes last, behind modules without parameters.

    Its gradient is added straight to ``.grad``. A :class:`Standardize` right before it is folded into the weights where
    it works on the features that the Linear takes, so that the product is one with spikes.
    """

    large_products = True

    def __init__(self, modules: Sequence[nn.Module], *, behind_neuron: bool) -> None:
        super().__init__(modules, behind_neuron=behind_neuron)
        assert isinstance(modules[-1], nn.Linear)
        self.linear = modules[-1]
        self.receive(())

    def receive(self, shape: Sequence[int]) -> None:
        """Leave a first pooling to the neurons where they have a height and a width."""
        before = self.leave_pooling(list(self.modules)[:-1], shape)
        last = before[-1] if before else None
        self._norm = last if isinstance(last, Standardize) else None
        before = before if self._norm is None else before[:-1]
        self._before = nn.Sequential(*before)

    def preferred_input(self, dtype: torch.dtype, bf16_terms: int) -> tuple[tuple[int, int], torch.dtype]:
        """In bfloat16 for products in it; else in one byte each, unless pooling makes fractions of them."""
        among = math.prod(self.pool)  # sums of spikes over a power of two are exact up to the 8 bits of bfloat16
        exact = bf16_terms == 1 or (among.bit_count() == 1 and among <= 256)
        plain = all(isinstance(module, nn.Flatten | nn.Identity) for module in self._before)
        if exact and plain and matmul.takes_bfloat16(self.linear.weight, bf16_terms):
            return self.pool, torch.bfloat16
        return self.pool, torch.uint8 if self.pool == (1, 1) else dtype

    def forward(self, x: Tensor, request: Request) -> tuple[Tensor, Saved]:
        """See :class:`Synapse`."""
        with torch.no_grad():
            z, (B, T) = batched(x)
            z = self._taken(z)
            effective = weight = weight_with_its_way_back(self.linear)
            bias: Tensor | None = self.linear.bias
            if self._norm is not None and z.dim() != 2:
                z = self._norm(z.to(weight.dtype))
            elif self._norm is not None:  # W (x - μ) σ⁻¹ + b, as one map of the spikes
                weight = weight * self._norm.scale
                offset = weight @ self._norm.mean
                bias = -offset if bias is None else bias - offset
            rows = z.flatten(0, -2)
            by_events = event_matmul.worth_it(rows, weight)
            if by_events:
                current = event_matmul.linear(rows, weight, bias)
            elif z.dtype is torch.bfloat16 and weight.dtype is torch.float32:
                current = matmul.linear(rows, weight, bias, bf16_terms=request.bf16_terms, transient=request.transient)
            else:
                current = _product(rows, weight, bias)
            saved = SavedProduct(z, effective, by_events=by_events, bf16_terms=request.bf16_terms)
            return unbatched(current.unflatten(0, z.shape[:-1]), B, T), saved

    def _taken(self, z: Tensor) -> Tensor:
        """What the product takes; spikes of one byte stay so where what comes before lets them."""
        for module in self._before:
            if z.dtype is torch.uint8 and pools(module):
                z = pooled_spikes(z, module)
            elif z.dtype is torch.uint8 and not isinstance(module, nn.Flatten | nn.Identity):
                z = module(z.to(self.linear.weight.dtype))
            else:
                z = module(z)
        return z

    def backward(self, a: Tensor, saved: Saved) -> None:
        """See :class:`Synapse`."""
        assert isinstance(saved, SavedProduct)
        a = batched(a)[0].flatten(0, -2)
        z, weight = saved.source.flatten(0, -2), saved.weight
        into: Tensor | None = None
        norm, total = self._norm if saved.source.dim() == 2 else None, a.sum(0, dtype=self.linear.weight.dtype)
        accumulate(self.linear.bias, total)
        if weight is None or not weight.requires_grad:
            return
        if saved.by_events:
            gradient = event_matmul.weight_gradient(a, z)
        elif z.dtype is torch.bfloat16 and weight.dtype is torch.float32:
            into = weight.grad if norm is None and weight.is_leaf else None
            gradient = matmul.weight_gradient(a, z, into, bf16_terms=saved.bf16_terms)
        else:
            gradient = recycled(weight.shape, like=a)
            for i, piece in enumerate(_pieces(z, a.shape[1])):
                gradient.addmm_(a[piece].T, z[piece].to(a.dtype), beta=min(i, 1))
        if norm is not None:
            gradient.addr_(total, norm.mean, alpha=-1).mul_(norm.scale)
        if into is None or gradient is not into:
            accumulate(weight, gradient)


PIECE_BYTES = 1_000_000  # of spikes as numbers of four bytes


def _pieces(rows: Tensor, outputs: int) -> Iterator[slice]:
    """Some rows of bytes at a time, so that they need not all be held as numbers of several; others all at once."""
    size = max(len(rows), 1)
    if rows.dtype is torch.uint8:  # as many rows as outputs, and the product does more than it waits for memory
        size = max(PIECE_BYTES // (4 * max(rows.shape[1], 1)), outputs)
    return (slice(start, start + size) for start in range(0, max(len(rows), 1), size))


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if rows.dtype is not torch.uint8:
        return F.linear(rows, weight, bias)
    out = weight.new_empty(len(rows), len(weight))
    for piece in _pieces(rows, len(weight)):
        torch.mm(rows[piece].to(weight.dtype), weight.T, out=out[piece])
    return out if bias is None else out.add_(bias)


@register_synapse(WSLinear)
@register_synapse(nn.Linear)
def _make(modules: Sequence[nn.Module], behind_neuron: bool) -> Synapse | None:
    """For a Linear that comes last."""
    return LinearSynapse(modules, behind_neuron=behind_neuron) if isinstance(modules[-1], nn.Linear) else None


for _module in (nn.Linear, WSLinear):
    register_stateless(_module, fresh=True)
