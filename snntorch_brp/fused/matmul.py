"""Matrix products of spikes in bfloat16: on processors with matrix units (AMX), and on other devices by PyTorch.

Spikes, and spikes averaged over 2, 4, 8, ... neighbors, are exact in bfloat16. A float32 number is the sum of three
bfloat16 numbers, so three products on the matrix units, added up in float32, are a float32 product. The first one
alone is a product with weights (or gradients) rounded to bfloat16, with the sum still in float32.

The units add up in one long chain, which rounds like a plain loop in float32 does and more than a blocked float32
product: over 5488 inputs and currents of about 0.3, at most 1.2e-6 was measured against 4e-7.

A GPU takes both sides in bfloat16 and gives bfloat16 back, so there one product is asked for alone, with the currents
rounded, too: they take half the way through memory to the neurons, whose state is in float32.
"""

from __future__ import annotations

import ctypes
import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from snntorch_brp.fused.buffers import recycled, scratch
from snntorch_brp.fused.build import Kernels, library
from snntorch_brp.fused.pointers import address

_BLOCK = 32  # the kernel's


class _Matrix(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("lanes", ctypes.c_int64), ("stride", ctypes.c_int64)]


class _Product(ctypes.Structure):
    _fields_ = [
        *(("floats", _Matrix), ("spikes", _Matrix), ("k", ctypes.c_int64)),
        *(("start", ctypes.c_void_p), ("out", ctypes.c_void_p)),
    ]


_kernels = Kernels("matrix", (_Matrix, _Product))


@functools.cache
def matrix_units_available() -> bool:
    """Whether this machine has the matrix units, and the compiler and the system know how to use them."""
    kernels = library()
    return kernels is not None and bool(kernels.matrix_units_ready())


def takes_bfloat16(weight: Tensor, bf16_terms: int) -> bool:
    """Whether products with these weights take the spikes in bfloat16, on their device and at this precision."""
    if weight.dtype is not torch.float32:
        return False
    return matrix_units_available() if weight.device.type == "cpu" else bf16_terms == 1


def linear(z: Tensor, weight: Tensor, bias: Tensor | None, *, bf16_terms: int, transient: bool = False) -> Tensor:
    """``z Wᵀ + b`` in float32, off the CPU rounded to bfloat16, for bfloat16 ``z``.

    Args:
        z: Spikes, ``[M, K]``, bfloat16, as where :func:`takes_bfloat16`.
        weight: W, ``[N, K]``, float32.
        bias: b, ``[N]``, float32.
        bf16_terms: Number of bfloat16 numbers that W is taken apart into: 3 for all of float32, 1 for bfloat16.
        transient: The result may live in a shared buffer, which the next call overwrites.
    """
    if z.device.type != "cpu":
        return F.linear(z, weight.to(z.dtype), None if bias is None else bias.to(z.dtype))
    z, weight = z.contiguous(), weight.detach().contiguous()
    (M, K), N = z.shape, len(weight)
    out = scratch("current", (M, N), torch.float32) if transient else weight.new_empty(M, N)
    start = _zeros(N)
    if bias is not None:
        start[:N] = bias.detach()
    floats = _Matrix(address(weight, "weights", dtype=torch.float32, shape=(N, K)), N, K)
    spikes = _Matrix(address(z, "spikes", dtype=torch.bfloat16, shape=(M, K)), M, K)
    product = _Product(floats, spikes, K, start.data_ptr(), _sums(out, (M, N)))
    _multiply(product, back=False, bf16_terms=bf16_terms)
    return out


def weight_gradient(a: Tensor, z: Tensor, gradient: Tensor | None, *, bf16_terms: int) -> Tensor:
    """``∇W += aᵀ z`` in float32 for bfloat16 ``z``; shapes ``[M, N]``, ``[M, K]`` and ``[N, K]``, made when None."""
    if z.device.type != "cpu":
        product_of_all = (a.to(z.dtype).T @ z).float()
        return product_of_all if gradient is None else gradient.add_(product_of_all)
    a, z = a.contiguous(), z.contiguous()
    (M, K), N = z.shape, a.shape[1]
    start = _zeros(K) if gradient is None else None
    out = recycled((N, K), like=a) if gradient is None else gradient
    floats = _Matrix(address(a, "gradients", dtype=torch.float32, shape=(M, N)), N, N)
    spikes = _Matrix(address(z, "spikes", dtype=torch.bfloat16, shape=(M, K)), K, K)
    product = _Product(floats, spikes, M, None if start is None else start.data_ptr(), _sums(out, (N, K)))
    _multiply(product, back=True, bf16_terms=bf16_terms)
    return out


def _zeros(columns: int) -> Tensor:
    return torch.zeros(-(-columns // _BLOCK) * _BLOCK, dtype=torch.float32, device="cpu")


def _sums(out: Tensor, shape: tuple[int, int]) -> ctypes.c_void_p:
    return address(out, "sums", dtype=torch.float32, shape=shape, written=True)


def _multiply(product: _Product, *, back: bool, bf16_terms: int) -> None:
    if not matrix_units_available():  # which also asks the system for them
        raise RuntimeError("there are no matrix units")
    _kernels("multiply_spikes")(ctypes.byref(product), ctypes.c_int32(back), ctypes.c_int32(bf16_terms))
