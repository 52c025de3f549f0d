"""Matrix products of spikes on processors with bfloat16 matrix units (AMX).

Spikes, and spikes averaged over 2, 4, 8, ... neighbours, are exact in bfloat16. A float32 number is the sum of three
bfloat16 numbers, so three products on the matrix units, added up in float32, are a float32 product. The first one
alone is a product with weights (or gradients) rounded to bfloat16, with the sum still in float32.

The units add up in one long chain, which rounds like a plain loop in float32 does and more than a blocked float32
product: over 5488 inputs and currents of about 0.3, at most 2e-6 was measured against 4e-7.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import torch
from torch import Tensor

from snntorch_brp.fused.build import library
from snntorch_brp.fused.memory import recycled, scratch

_ROW_MAJOR, _PLAIN, _TRANSPOSED = 101, 111, 112


@functools.cache
def matrix_units_available() -> bool:
    """Whether this machine has the matrix units, and this PyTorch and the kernels know how to use them."""
    if not torch.cpu._is_amx_tile_supported() or library() is None:
        return False
    return _gemm() is not None


@functools.cache
def _gemm() -> ctypes._NamedFuncPointer | None:
    """MKL's product of bfloat16 into float32, which PyTorch carries but has no operator for."""
    path = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        gemm = ctypes.CDLL(str(path)).cblas_gemm_bf16bf16f32
    except (OSError, AttributeError):
        return None
    integer, real, pointer = ctypes.c_int, ctypes.c_float, ctypes.c_void_p
    gemm.restype = None
    gemm.argtypes = [*[integer] * 6, real, pointer, integer, pointer, integer, real, pointer, integer]
    return gemm


def linear(z: Tensor, weight: Tensor, bias: Tensor | None, *, parts: int, passing: bool = False) -> Tensor:
    """``z Wᵀ + b`` in float32 for bfloat16 ``z``.

    Args:
        z: Spikes, ``[M, F]``, bfloat16.
        weight: W, ``[N, F]``, float32.
        bias: b, ``[N]``, float32.
        parts: Number of bfloat16 numbers that W is taken apart into: 3 for all of float32, 1 for bfloat16.
        passing: The result will have been used before the next call.
    """
    (M, F), N = z.shape, len(weight)
    out = scratch("current", (M, N), torch.float32) if passing else z.new_empty(M, N, dtype=torch.float32)
    out.copy_(torch.zeros(()) if bias is None else bias.detach())
    for part in split(weight.detach(), parts):
        _multiply(z, part, out, (_PLAIN, _TRANSPOSED), (M, N, F))
    return out


def weight_gradient(a: Tensor, z: Tensor, gradient: Tensor | None, *, parts: int) -> Tensor:
    """``∇W += aᵀ z`` in float32 for bfloat16 ``z``; shapes ``[M, N]``, ``[M, F]`` and ``[N, F]``, made when None."""
    (M, F), N = z.shape, a.shape[1]
    fresh = gradient is None
    gradient = recycled((N, F), like=a) if gradient is None else gradient
    for i, part in enumerate(split(a, parts)):
        _multiply(part, z, gradient, (_TRANSPOSED, _PLAIN), (N, F, M), keep=not fresh or i > 0)
    return gradient


def split(x: Tensor, parts: int) -> list[Tensor]:
    """``x`` as the sum of three bfloat16 tensors (24 bits, exact), or rounded to one; good until the next call."""
    x = x.contiguous()
    out = [scratch(f"part {i}", x.shape, torch.bfloat16) for i in range(parts)]
    kernels = library()
    assert kernels is not None
    function = kernels.split_float32 if parts == 3 else kernels.round_float32
    function(
        ctypes.c_void_p(x.data_ptr()), ctypes.c_int64(x.numel()), *(ctypes.c_void_p(part.data_ptr()) for part in out)
    )
    return out


def _multiply(
    left: Tensor, right: Tensor, out: Tensor, turned: tuple[int, int], sizes: tuple[int, int, int], *, keep: bool = True
) -> None:
    gemm = _gemm()
    assert gemm is not None
    left, right = left.contiguous(), right.contiguous()
    operands = (left.data_ptr(), left.stride(0), right.data_ptr(), right.stride(0))
    gemm(_ROW_MAJOR, *turned, *sizes, 1.0, *operands, float(keep), out.data_ptr(), out.stride(0))
