"""What comes between a convolution and its neurons, batch norm and pooling, in one pass over memory each way.

The convolution's output y is kept once, with channels last. Batch statistics are of one step; so a batch norm is a
scale and a shift for each step and channel, and what is pooled is ``scale y + shift``. On the way back the winners of a
maximum are found again, and y becomes its own gradient::

    ∂y = (γ/σ) (g - mean(g) - x̂ mean(g x̂))        with x̂ = (y - μ)/σ, means over the samples and places of a step
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from snntorch_brp.fused.buffers import recycled
from snntorch_brp.fused.build import Kernels
from snntorch_brp.fused.pointers import address
from snntorch_brp.fused.sparse_conv import Pool

_NAMES = {torch.float32: "float", torch.float64: "double"}


class _Block(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int64)
        for name in ("images", "steps", "height", "width", "channels", "pool_h", "pool_w", "maximum")
    ]


_kernels = Kernels("block", (_Block,))


@dataclass
class Affine:
    """A batch norm as it was applied, all ``[T, C]`` in double precision but the first two.

    Attributes:
        scale: γ/σ, in the precision of y.
        shift: What is added, β - μ γ/σ.
        mean: μ.
        sigma: σ, with ε.
        own: The statistics are those of the batch, so that its gradient goes through them.
    """

    scale: Tensor
    shift: Tensor
    mean: Tensor
    sigma: Tensor
    own: bool


def nothing(y: Tensor, T: int) -> Affine:
    """The batch norm that changes nothing, for ``y`` of T steps."""
    size = (T, y.shape[-1])
    one, zero = torch.ones(size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
    return Affine(one.to(y.dtype), zero.to(y.dtype), zero, one, own=False)


def statistics(y: Tensor, T: int) -> tuple[Tensor, Tensor]:
    """Mean and variance, without correction, of each step and channel of ``y``, ``[B T, H, W, C]``."""
    mean, variance = (torch.zeros(T, y.shape[-1], dtype=torch.float64, device="cpu") for _ in range(2))
    _kernels(f"block_moments_{_NAMES[y.dtype]}")(
        address(y, "currents", dtype=y.dtype, shape=y.shape),
        ctypes.byref(_block(y, T, Pool())),
        *(address(x, "moments", dtype=x.dtype, shape=x.shape, written=True) for x in (mean, variance)),
    )
    return mean, variance


def forward(y: Tensor, affine: Affine, pool: Pool, out: Tensor | None = None) -> Tensor:
    """``scale y + shift``, pooled: ``[B T, H', W', C]`` from ``[B T, H, W, C]``, sample-major, contiguous."""
    T, size = len(affine.scale), pooled_shape(y, pool)
    out = recycled(size, like=y) if out is None else out
    _kernels(f"block_forward_{_NAMES[y.dtype]}")(
        address(y, "currents", dtype=y.dtype, shape=y.shape),
        ctypes.byref(_block(y, T, pool)),
        *_coefficients(y, affine.scale, affine.shift),
        address(out, "pooled currents", dtype=y.dtype, shape=size, written=True),
    )
    return out


@dataclass
class Gradients:
    """Of a batch norm's γ and β, and of the bias of the convolution before it, each ``[C]``."""

    gamma: Tensor
    beta: Tensor
    bias: Tensor


class Sums(NamedTuple):
    """Of the gradients g of what :func:`forward` gave, and of g y, over samples and places: each ``[T, C]``, double."""

    of_g: Tensor
    of_gy: Tensor


def no_sums(affine: Affine) -> Sums:
    """To start with."""
    return Sums(*(torch.zeros(affine.scale.shape, dtype=torch.float64, device="cpu") for _ in range(2)))


def add_sums(sums: Sums, y: Tensor, affine: Affine, pool: Pool, g: Tensor) -> None:
    """Add those of some samples."""
    _kernels(f"block_sums_{_NAMES[y.dtype]}")(
        address(y, "currents", dtype=y.dtype, shape=y.shape),
        *_common(y, affine, pool),
        address(g, "gradients", dtype=y.dtype, shape=pooled_shape(y, pool)),
        *(address(x, "sums", dtype=x.dtype, shape=x.shape, written=True) for x in sums),
    )


def backward_(y: Tensor, affine: Affine, pool: Pool, g: Tensor, sums: Sums | None = None) -> Gradients:
    """Turn ``y`` into its gradient, given the gradient ``g`` of what :func:`forward` gave, and its sums."""
    n = y[..., 0].numel() // len(affine.scale)  # values of a step and channel
    if sums is None:
        sums = no_sums(affine)
        add_sums(sums, y, affine, pool, g)
    of_g, of_gy = sums
    gamma = (of_gy - affine.mean * of_g) / affine.sigma  # Σ g x̂
    slope = affine.scale.double()
    turn, offset, bias = torch.zeros_like(slope), torch.zeros_like(slope), slope * of_g
    if affine.own:
        turn = -slope * gamma / n / affine.sigma
        offset = -slope * of_g / n - turn * affine.mean
        bias = torch.zeros_like(bias)  # a constant is taken away with the mean
    held = [x.to(y.dtype) for x in (slope, turn, offset)]  # alive until the call is over
    _kernels(f"block_backward_{_NAMES[y.dtype]}")(
        address(y, "currents", dtype=y.dtype, shape=y.shape, written=True),
        *_common(y, affine, pool),
        address(g, "gradients", dtype=y.dtype, shape=pooled_shape(y, pool)),
        *_coefficients(y, *held),
    )
    return Gradients(*(x.sum(0).to(y.dtype) for x in (gamma, of_g, bias)))


def pooled_shape(y: Tensor, pool: Pool) -> tuple[int, ...]:
    """Of what :func:`forward` gives."""
    M, height, width, C = y.shape
    return M, height // pool.height, width // pool.width, C


def _block(y: Tensor, T: int, pool: Pool) -> _Block:
    M, height, width, C = y.shape
    if M % T:
        raise ValueError(f"{M} images are not whole samples of {T} steps")
    return _Block(M, T, height, width, C, pool.height, pool.width, pool.maximum)


def _common(y: Tensor, affine: Affine, pool: Pool) -> tuple[object, ...]:
    return ctypes.byref(_block(y, len(affine.scale), pool)), *_coefficients(y, affine.scale, affine.shift)


def _coefficients(y: Tensor, *values: Tensor) -> list[ctypes.c_void_p]:
    shape = (len(values[0]), y.shape[-1])
    return [address(x, "a coefficient", dtype=y.dtype, shape=shape) for x in values]
