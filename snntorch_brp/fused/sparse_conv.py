"""Convolution of sparse spikes: the work is done where an input is not 0.

One spike adds a patch of weights to the currents around it. With channels last each row of that patch is contiguous in
memory, so that few spikes cost little.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from snntorch_brp.fused.buffers import scratch
from snntorch_brp.fused.build import check_structs, library
from snntorch_brp.fused.pointers import address

DENSITY = 0.3  # above this share of inputs that are not 0, a dense convolution is as fast
FEW_TAPS = 8  # but for kernels of so few weights an output, which leave the dense one waiting for memory


class _Conv(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int64)
        for name in ("images", "c_in", "h_in", "w_in", "c_out", "h_out", "w_out", "kh", "kw", "pad_h", "pad_w")
    ]


def worth_it(z: Tensor, conv: nn.Module) -> bool:
    """Whether these inputs ``[M, C, *]`` are few enough, and the convolution is one that this module knows."""
    return (
        isinstance(conv, nn.Conv1d | nn.Conv2d)
        and z.dtype is torch.float32
        and z.device.type == "cpu"
        and conv.weight.dtype is torch.float32
        and conv.groups == 1
        and max(*conv.stride, *conv.dilation) == 1
        and (conv.weight[0].numel() <= FEW_TAPS or int(torch.count_nonzero(z)) <= DENSITY * z.numel())
        and library() is not None
    )


def convolve(z: Tensor, conv: nn.Conv1d | nn.Conv2d, *, transient: bool = False) -> Tensor:
    """The convolution of ``z``, ``[M, C, *]``, with channels last in memory; ``transient`` if soon forgotten."""
    z = z.contiguous()
    geometry, shape = _geometry(z, conv)
    weight = conv.weight.detach().flip(-1).movedim(0, -1).contiguous()
    bias = conv.bias.detach().contiguous() if conv.bias is not None else weight.new_zeros(conv.out_channels)
    size = (len(z), *shape, conv.out_channels)
    out = scratch("current", size, z.dtype) if transient else z.new_empty(size)
    _kernels().convolve_float32(
        _floats(z, "spikes", z.shape),
        ctypes.byref(geometry),
        _floats(weight, "weights", (conv.in_channels, *conv.kernel_size, conv.out_channels)),
        _floats(bias, "biases", (conv.out_channels,)),
        _floats(out, "currents", size, written=True),
    )
    return out.movedim(-1, 1)


def convolution_gradients(a: Tensor, z: Tensor, conv: nn.Conv1d | nn.Conv2d) -> tuple[Tensor, Tensor]:
    """∇W and ∇b from the gradients ``a`` of the output, ``[M, C_out, *]``."""
    z, a = z.contiguous(), a.movedim(1, -1).contiguous()
    geometry, shape = _geometry(z, conv)
    weights, threads = conv.weight.numel(), min(torch.get_num_threads(), len(z))
    pieces = z.new_zeros(threads, weights + conv.out_channels)
    _kernels().convolve_gradient_float32(
        _floats(z, "spikes", z.shape),
        ctypes.byref(geometry),
        _floats(a, "gradients", (len(z), *shape, conv.out_channels)),
        _floats(pieces, "sums", pieces.shape, written=True),
        ctypes.c_int64(threads),
    )
    total = pieces.sum(0)
    turned = total[:weights].view(*conv.weight.shape[1:], conv.out_channels)
    return turned.movedim(-1, 0).flip(-1).contiguous(), total[weights:].clone()


def _geometry(z: Tensor, conv: nn.Conv1d | nn.Conv2d) -> tuple[_Conv, tuple[int, ...]]:
    """What the kernel is told, and the shape of the output without its channels."""
    if isinstance(conv.padding, str) or z.dim() != 2 + len(conv.kernel_size) or z.shape[1] != conv.in_channels:
        raise ValueError(f"images {tuple(z.shape)} and padding {conv.padding!r} do not fit {conv}")
    flat = (1,) if isinstance(conv, nn.Conv1d) else ()
    size, kernel = (*flat, *z.shape[2:]), (*flat, *conv.kernel_size)
    padding = (*(0 for _ in flat), *conv.padding)
    out = tuple(s + 2 * p - k + 1 for s, p, k in zip(size, padding, kernel, strict=True))
    geometry = _Conv(len(z), z.shape[1], *size, conv.out_channels, *out, *kernel, *padding)
    return geometry, out[len(flat) :]


def _floats(x: Tensor, name: str, shape: Sequence[int], *, written: bool = False) -> ctypes.c_void_p:
    return address(x, name, dtype=torch.float32, shape=shape, written=written)


@functools.cache
def _kernels() -> ctypes.CDLL:
    kernels = library()
    if kernels is None:
        raise RuntimeError("there are no compiled kernels")
    check_structs(kernels, "conv_struct_sizes", {"Conv": _Conv})
    return kernels
