"""Convolution of sparse spikes: the work is done where an input is not 0.

One spike adds a patch of weights to the currents around it. With channels last each row of that patch is contiguous in
memory, so that few spikes cost little.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snntorch_brp.fused.buffers import recycled
from snntorch_brp.fused.build import Kernels, library
from snntorch_brp.fused.event_matmul import density
from snntorch_brp.fused.pointers import address

DENSITY = 0.3  # above this share of inputs that are not 0, a dense convolution is as fast
LANES = 16  # floats in the vectors that the kernel takes weights by
FEW_TAPS = 8  # but for kernels of so few weights an output, which leave the dense one waiting for memory


class _Conv(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int64)
        for name in ("images", "c_in", "h_in", "w_in", "c_out", "h_out", "w_out", "kh", "kw", "pad_h", "pad_w", "row")
    ]


class _Pool(ctypes.Structure):
    _fields_ = [("height", ctypes.c_int64), ("width", ctypes.c_int64), ("maximum", ctypes.c_int64)]


_kernels = Kernels("conv", (_Conv, _Pool))


class Pool(NamedTuple):
    """Windows without overlap over the outputs of a convolution, whose maximum or mean goes on."""

    height: int = 1
    width: int = 1
    maximum: bool = False


NO_POOL = Pool()


def worth_it(z: Tensor, conv: nn.Module) -> bool:
    """Whether these inputs ``[M, C, *]`` are few enough, and the convolution is one that this module knows."""
    return (
        isinstance(conv, nn.Conv1d | nn.Conv2d)
        and z.dtype is torch.float32
        and z.device.type == "cpu"
        and conv.weight.dtype is torch.float32
        and conv.groups == 1
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
        and max(*conv.stride, *conv.dilation) == 1
        and (conv.weight[0].numel() <= FEW_TAPS or density(z) <= DENSITY)
        and library() is not None
    )


def convolve(
    z: Tensor,
    conv: nn.Conv1d | nn.Conv2d,
    *,
    weight: Tensor | None = None,
    pool: Pool = NO_POOL,
) -> tuple[Tensor, Tensor | None]:
    """The convolution of sparse images, pooled, with channels last in memory.

    Args:
        z: Images, ``[M, C, *]``.
        conv: The convolution.
        weight: Its weights, where they are not ``conv.weight``.
        pool: What is done with its outputs.

    Returns:
        ``[M, C_out, *]``, and where each maximum came from, in the same shape as it lies in memory.
    """
    z = z.contiguous()
    geometry, shape = _geometry(z, conv, pool)
    weight = (conv.weight if weight is None else weight).detach()
    rows = weight.flip(-1).movedim(0, -1).reshape(conv.in_channels, -1, _row(conv))
    weight = F.pad(rows, (0, geometry.row - _row(conv))).contiguous()
    bias = conv.bias.detach().contiguous() if conv.bias is not None else weight.new_zeros(conv.out_channels)
    size = (len(z), *shape, conv.out_channels)
    out = recycled(size, like=z)
    winners = torch.empty(size, dtype=torch.uint8, device="cpu") if pool.maximum else None
    _kernels("convolve_float32")(
        _floats(z, "spikes", z.shape),
        ctypes.byref(geometry),
        _floats(weight, "weights", (conv.in_channels, geometry.kh, geometry.row)),
        _floats(bias, "biases", (conv.out_channels,)),
        ctypes.byref(_Pool(*pool)),
        _floats(out, "currents", size, written=True),
        _bytes(winners, size, written=True),
    )
    return out.movedim(-1, 1), winners


def convolution_gradients(
    a: Tensor, z: Tensor, conv: nn.Conv1d | nn.Conv2d, *, pool: Pool = NO_POOL, winners: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """∇W and ∇b from the gradients ``a`` of the output of :func:`convolve`, ``[M, C_out, *]``."""
    z, a = z.contiguous(), a.movedim(1, -1).contiguous()
    geometry, shape = _geometry(z, conv, pool)
    size = (len(z), *shape, conv.out_channels)
    if pool.maximum and winners is None:
        raise ValueError("the way back through a maximum needs its winners")
    threads = max(min(torch.get_num_threads(), len(z)), 1)
    weights = conv.in_channels * geometry.kh * geometry.row
    pieces = z.new_zeros(threads, weights + conv.out_channels)
    _kernels("convolve_gradient_float32")(
        _floats(z, "spikes", z.shape),
        ctypes.byref(geometry),
        _floats(a, "gradients", size),
        ctypes.byref(_Pool(*pool)),
        _bytes(winners, size),
        _floats(pieces, "sums", pieces.shape, written=True),
        ctypes.c_int64(threads),
    )
    total = pieces.sum(0)
    rows = total[:weights].view(conv.in_channels, geometry.kh, geometry.row)[..., : _row(conv)]
    turned = rows.reshape(*conv.weight.shape[1:], conv.out_channels)
    return turned.movedim(-1, 0).flip(-1).contiguous(), total[weights:].clone()


class SparseConvolution(torch.autograd.Function):
    """The convolution of sparse spikes with gradients for its weights and none for the spikes."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, weight: Tensor, bias: Tensor | None, conv: nn.Conv1d | nn.Conv2d) -> Tensor:
        """``[M, C, *]`` to the convolution's output; ``weight`` and ``bias`` are those of ``conv``."""
        ctx.save_for_backward(z)
        ctx.conv = conv
        return convolve(z, conv, weight=weight)[0]

    @staticmethod
    def backward(ctx: Any, a: Tensor) -> tuple[None, Tensor, Tensor | None, None]:
        """∇W and ∇b."""
        (z,) = ctx.saved_tensors
        weight, bias = convolution_gradients(a, z, ctx.conv)
        return None, weight, bias if ctx.conv.bias is not None else None, None


def _geometry(z: Tensor, conv: nn.Conv1d | nn.Conv2d, pool: Pool) -> tuple[_Conv, tuple[int, ...]]:
    """What the kernel is told, and the shape of the pooled output without its channels."""
    if isinstance(conv.padding, str) or z.dim() != 2 + len(conv.kernel_size) or z.shape[1] != conv.in_channels:
        raise ValueError(f"images {tuple(z.shape)} and padding {conv.padding!r} do not fit {conv}")
    flat = (1,) if isinstance(conv, nn.Conv1d) else ()
    size, kernel = (*flat, *z.shape[2:]), (*flat, *conv.kernel_size)
    padding = (*(0 for _ in flat), *conv.padding)
    out = tuple(s + 2 * p - k + 1 for s, p, k in zip(size, padding, kernel, strict=True))
    row = -(-_row(conv) // LANES) * LANES
    geometry = _Conv(len(z), z.shape[1], *size, conv.out_channels, *out, *kernel, *padding, row)
    windows = (pool.height, pool.width)
    pooled = tuple(size // window for size, window in zip(out, windows, strict=True))
    return geometry, pooled[len(flat) :]


def _row(conv: nn.Conv1d | nn.Conv2d) -> int:
    """Weights of one row of the kernel, of all output channels."""
    return conv.kernel_size[-1] * conv.out_channels


def _bytes(x: Tensor | None, shape: Sequence[int], *, written: bool = False) -> ctypes.c_void_p | None:
    return None if x is None else address(x, "winners", dtype=torch.uint8, shape=shape, written=written)


def _floats(x: Tensor, name: str, shape: Sequence[int], *, written: bool = False) -> ctypes.c_void_p:
    return address(x, name, dtype=torch.float32, shape=shape, written=written)
