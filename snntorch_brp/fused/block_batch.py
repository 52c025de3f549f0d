"""A whole batch behind a convolution, normalized and pooled, whose neurons run some samples at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from snntorch_brp.fused import block
from snntorch_brp.fused.block import Affine
from snntorch_brp.fused.buffers import recycled
from snntorch_brp.fused.sparse_conv import Pool
from snntorch_brp.fused.synapse import Batch, Saved, accumulate, batched, unbatched


class Pass(NamedTuple):
    """A pass over memory: what goes into it, ``[B T, H, W, C]``, the batch norm as it is applied, and the pooling."""

    y: Tensor
    affine: Affine
    pool: Pool
    norm: _BatchNorm | None


@dataclass
class SavedRows(Saved):
    """Which samples went through, and the batch, where it was all of them."""

    start: int = 0
    stop: int = 0
    batch: Batch | None = None


class BlockBatch:
    """The last pass, some samples at a time; those before have been done.

    The currents of all samples have one memory, in which they become membranes and then gradients; so nothing is moved.

    Args:
        passes: The passes, in order.
        samples: Number of samples B.
        flat: The images have no height.
        learn: Is told the gradient of what went into the first pass, and its sum over all but the channels, where it
            is known.
    """

    def __init__(
        self, passes: Sequence[Pass], *, samples: int, flat: bool, learn: Callable[[Tensor, Tensor | None], None]
    ) -> None:
        self._passes, self._flat, self._learn = list(passes), flat, learn
        y, affine, pool, _ = passes[-1]
        self._samples, self._T, self._told = samples, len(y) // samples, 0
        self._g = recycled(block.pooled_shape(y, pool), like=y)
        self._sums = block.no_sums(affine)

    def forward(self, rows: slice) -> tuple[Tensor, Saved]:
        """See :class:`Batch`."""
        y, affine, pool, _ = self._passes[-1]
        images = self._images(rows.start, rows.stop)
        current = block.forward(y[images], affine, pool, self._g[images])
        current = (current.squeeze(1) if self._flat else current).movedim(-1, 1)
        return unbatched(current, rows.stop - rows.start, self._T), SavedRows(y, start=rows.start, stop=rows.stop)

    def backward(self, a: Tensor, saved: Saved) -> None:
        """See :class:`Batch`."""
        assert isinstance(saved, SavedRows)
        images = self._images(saved.start, saved.stop)
        own, given = self._g[images], batched(a)[0].movedim(1, -1)
        given = given.unsqueeze(1) if self._flat else given
        if given.data_ptr() != own.data_ptr() or not given.is_contiguous():
            own.copy_(given)
        y, affine, pool, _ = self._passes[-1]
        block.add_sums(self._sums, y[images], affine, pool, own)
        self._told += saved.stop - saved.start

    def finish(self) -> None:
        """See :class:`Batch`."""
        if self._told == 0:  # the layer does not learn
            return
        if self._told != self._samples:
            raise RuntimeError(f"the rule told {self._told} of {self._samples} samples of a batch: all of them or none")
        g, bias = self._g, None
        sums: block.Sums | None = self._sums
        for y, affine, pool, norm in reversed(self._passes):
            gradients = block.backward_(y, affine, pool, g, sums)
            if norm is not None:
                accumulate(norm.weight, gradients.gamma)
                accumulate(norm.bias, gradients.beta)
            g, bias, sums = y, gradients.bias, None
        self._passes.clear()  # what was kept is overwritten
        self._learn(g.squeeze(1) if self._flat else g, bias)

    def _images(self, start: int, stop: int) -> slice:
        return slice(start * self._T, stop * self._T)
