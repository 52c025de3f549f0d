"""Matrix products of spikes that are few, on the CPU: only inputs other than 0 are looked at.

A row of weights is added to the currents for every spike, where a dense product multiplies with all the zeros, too. As
in a convolution of few spikes, weights that no spike meets are not read.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from snntorch_brp.fused.buffers import recycled
from snntorch_brp.fused.build import Kernels, library
from snntorch_brp.fused.pointers import address

DENSITY = 0.25  # share of inputs other than 0; from 0.3 on a dense product is as fast
PER_OUTPUT = 0.001  # where there are few outputs, that much of it for each: then a dense product makes short work
OUTPUTS = 32  # of fewer, no time is lost either way

DTYPES = (torch.uint8, torch.float32)


class _Spikes(ctypes.Structure):
    _fields_ = [
        *(("data", ctypes.c_void_p), ("bytes", ctypes.c_int64)),
        *(("rows", ctypes.c_int64), ("inputs", ctypes.c_int64), ("outputs", ctypes.c_int64)),
    ]


_kernels = Kernels("event", (_Spikes,))


def worth_it(z: Tensor, weight: Tensor) -> bool:
    """Whether these inputs ``[M, K]`` are few enough for weights ``[N, K]``, and of a kind that the kernels know."""
    return (
        z.dtype in DTYPES
        and z.device.type == "cpu"
        and weight.dtype is torch.float32
        and len(weight) >= OUTPUTS
        and density(z) <= min(DENSITY, PER_OUTPUT * len(weight))
        and library() is not None
    )


def density(z: Tensor) -> float:
    """Share of inputs that are not 0, among some 64 of the samples ``[M, *]``."""
    some = z[:: max(len(z) // 64, 1)]
    return int(torch.count_nonzero(some)) / max(some.numel(), 1)


def linear(z: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``z Wᵀ + b`` in float32.

    Args:
        z: Spikes, ``[M, K]``, in one byte or float32.
        weight: W, ``[N, K]``.
        bias: b, ``[N]``.
    """
    weight = weight.detach().contiguous()
    bias = weight.new_zeros(len(weight)) if bias is None else bias.detach().contiguous()
    z, spikes = _spikes(z, len(weight))
    out = recycled((len(z), len(weight)), like=weight)
    _kernels("event_linear")(
        ctypes.byref(spikes),
        _floats(weight, "weights", (len(weight), z.shape[1])),
        _floats(bias, "biases", (len(weight),)),
        _floats(out, "currents", out.shape, written=True),
    )
    return out


def weight_gradient(a: Tensor, z: Tensor) -> Tensor:
    """``∇W = aᵀ z`` in float32, from gradients ``a`` of the currents: ``[M, N]`` and ``[M, K]`` to ``[N, K]``."""
    a = a.contiguous()
    z, spikes = _spikes(z, a.shape[1])
    gradient = recycled((a.shape[1], z.shape[1]), like=a)
    _kernels("event_weight_gradient")(
        ctypes.byref(spikes),
        _floats(a, "gradients", (len(z), a.shape[1])),
        _floats(gradient, "sums", gradient.shape, written=True),
    )
    return gradient


def _spikes(z: Tensor, outputs: int) -> tuple[Tensor, _Spikes]:
    """The spikes as the kernels take them, and what they are told of them."""
    z = z.contiguous()
    dtype = z.dtype if z.dtype in DTYPES else torch.float32
    data = address(z, "spikes", dtype=dtype, shape=z.shape)
    return z, _Spikes(data, z.element_size(), len(z), z.shape[1], outputs)


def _floats(x: Tensor, name: str, shape: tuple[int, ...], *, written: bool = False) -> ctypes.c_void_p:
    return address(x, name, dtype=torch.float32, shape=shape, written=written)
