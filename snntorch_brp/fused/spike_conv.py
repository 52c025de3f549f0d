"""Convolution of spikes by tables of partial sums: additions that are looked up, and no products.

Four inputs that are 0 or 1 have 16 possible sums of weights. They are kept in a table, so that one addition does the
work of four products (Arlazarov, Dinic, Kronrod and Faradzhev, "On economical construction of the transitive closure of
a directed graph", 1970). The time does not depend on how many spikes there are.
"""

from __future__ import annotations

import ctypes
import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snntorch_brp.fused.buffers import recycled
from snntorch_brp.fused.build import Kernels, library
from snntorch_brp.fused.pointers import address

Conv = nn.Conv1d | nn.Conv2d
LINE = 64  # bytes: an entry of a table is one line of the cache, or two
_NAMES = {torch.float32: "float", torch.float64: "double"}


class _SpikeConv(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            *("images", "h_in", "w_in", "c_in", "h_out", "w_out", "c_out", "kh", "kw"),
            *("stride_h", "stride_w", "pad_h", "pad_w", "step_h", "step_w"),
        )
    ]


_kernels = Kernels("spike_conv", (_SpikeConv,))


def knows(conv: nn.Module) -> bool:
    """Whether a convolution is one that the kernels compute, where they could be built."""
    return (
        isinstance(conv, nn.Conv1d | nn.Conv2d)
        and conv.weight.dtype in _NAMES
        and conv.weight.device.type == "cpu"
        and conv.groups == 1
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
        and library() is not None
    )


def convolve(z: Tensor, conv: Conv, weight: Tensor) -> Tensor:
    """The convolution, as ``[M, *, C_out]`` with channels last.

    Args:
        z: Images of bytes, each 0 or 1, ``[M, *, C_in]`` with channels last, contiguous.
        conv: The convolution.
        weight: Its weights, ``[C_out, C_in, *]``, in single or double precision.
    """
    geometry, size = _geometry(z, conv)
    row = _row(conv, weight.dtype)
    lanes = row // weight.dtype.itemsize
    taps, wide = weight[0].numel(), -(-conv.out_channels // lanes) * lanes
    rows = weight.detach().movedim(0, -1).movedim(0, -2).reshape(taps, conv.out_channels)
    rows = F.pad(rows, (0, wide - conv.out_channels, 0, _words(taps) * 32 - taps)).contiguous()
    bias = rows.new_zeros(wide)
    if conv.bias is not None:
        bias[: conv.out_channels] = conv.bias.detach()
    out = recycled(size, like=weight)
    _kernels(f"spike_convolve_{_NAMES[weight.dtype]}")(
        address(z, "spikes", dtype=torch.uint8, shape=z.shape),
        ctypes.byref(geometry),
        address(rows, "weights", dtype=weight.dtype, shape=(_words(taps) * 32, wide)),
        address(bias, "biases", dtype=weight.dtype, shape=(wide,)),
        address(out, "currents", dtype=weight.dtype, shape=size, written=True),
        ctypes.c_int64(row),
    )
    return out


def weight_gradient(a: Tensor, z: Tensor, conv: Conv) -> Tensor:
    """∇W, ``[C_out, C_in, *]``, from the gradients ``a`` of the output, ``[M, *, C_out]``, and the images."""
    geometry, size = _geometry(z, conv)
    row, (c_out, *kernel) = _row(conv, a.dtype), conv.weight.shape
    lanes = row // a.dtype.itemsize
    taps, blocks, threads = conv.weight[0].numel(), -(-c_out // lanes), torch.get_num_threads()
    pieces = _aligned((threads, blocks, _words(taps) * 32, lanes), a.dtype)
    _kernels(f"spike_gradient_{_NAMES[a.dtype]}")(
        address(z, "spikes", dtype=torch.uint8, shape=z.shape),
        ctypes.byref(geometry),
        address(a, "gradients", dtype=a.dtype, shape=size),
        address(pieces, "sums", dtype=a.dtype, shape=pieces.shape, written=True),
        ctypes.c_int64(threads),
        ctypes.c_int64(row),
    )
    rows = pieces.sum(0)[:, :taps].movedim(1, 2).reshape(blocks * lanes, taps)[:c_out]
    return rows.unflatten(1, (*kernel[1:], kernel[0])).movedim(-1, 1).contiguous()


def _geometry(z: Tensor, conv: Conv) -> tuple[_SpikeConv, tuple[int, ...]]:
    """What the kernels are told, and the shape of the output with channels last."""
    if z.dim() != 2 + len(conv.kernel_size) or z.shape[-1] != conv.in_channels:
        raise ValueError(f"images {tuple(z.shape)} with channels last do not fit {conv}")
    flat = len(conv.kernel_size) == 1
    assert not isinstance(conv.padding, str)
    height, width = (1, z.shape[1]) if flat else (z.shape[1], z.shape[2])
    kernel, padding, stride, step = (
        (other, values[0]) if flat else (values[0], values[-1])
        for other, values in ((1, conv.kernel_size), (0, conv.padding), (1, conv.stride), (1, conv.dilation))
    )
    out = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, p, s, d in zip((height, width), kernel, padding, stride, step, strict=True)
    ]
    if min(out) < 1:
        raise ValueError(f"images {tuple(z.shape)} with channels last are smaller than the kernel of {conv}")
    geometry = _SpikeConv(
        *(len(z), height, width, conv.in_channels, *out, conv.out_channels), *kernel, *stride, *padding, *step
    )
    return geometry, (len(z), *(out[1:] if flat else out), conv.out_channels)


def _words(taps: int) -> int:
    """Words of 32 bits for the inputs of a patch."""
    return -(-taps // 32)


def _row(conv: Conv, dtype: torch.dtype) -> int:
    """Bytes of an entry of a table: two lines of the cache, unless one holds all outputs."""
    return LINE if conv.out_channels * dtype.itemsize <= LINE else 2 * LINE


def _aligned(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Zeros that start with a line of the cache."""
    size = functools.reduce(int.__mul__, shape)
    memory = torch.zeros(size + LINE // dtype.itemsize, dtype=dtype, device="cpu")
    start = -(memory.data_ptr() % -LINE) // dtype.itemsize
    return memory[start : start + size].view(shape)
