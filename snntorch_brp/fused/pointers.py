"""The one door through which memory goes to C++: what a kernel is told about a tensor is checked here."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor


def address(
    x: Tensor, name: str, *, dtype: torch.dtype, shape: Sequence[int], free: int = 0, written: bool = False
) -> ctypes.c_void_p:
    """Where a tensor lies, once it is what a kernel takes it for.

    Args:
        x: The tensor.
        name: What it is, for the error.
        dtype: The numbers that the kernel reads or writes.
        shape: Its shape.
        free: Leading dimensions of any stride, which the kernel is told; the others are contiguous.
        written: The kernel writes into it, so that no two elements may share memory.

    Raises:
        ValueError: If it is anything else: a kernel would read or write what is not there.
    """
    wrong = _difference(x, dtype=dtype, shape=tuple(shape), free=free, written=written)
    if wrong:
        raise ValueError(f"a kernel cannot take {name}: {wrong}")
    return ctypes.c_void_p(x.data_ptr())


def _difference(x: Tensor, *, dtype: torch.dtype, shape: tuple[int, ...], free: int, written: bool) -> str | None:
    """What keeps a tensor from being handed over, or None."""
    if x.device.type != "cpu" or x.layout is not torch.strided:
        return f"it is {x.layout} on {x.device}, not a dense tensor on the CPU"
    if x.dtype is not dtype:
        return f"it holds {x.dtype}, not {dtype}"
    if tuple(x.shape) != shape:
        return f"it has shape {tuple(x.shape)}, not {shape}"
    if x.numel() == 0:
        return None
    if x.is_neg() or x.is_conj():
        return "it is a view that negates its memory"
    inner = 1
    for size, stride in zip(reversed(shape[free:]), reversed(x.stride()[free:]), strict=True):
        if size > 1 and stride != inner:
            return f"its strides are {x.stride()}, contiguous from dimension {free} on they must be"
        inner *= size
    if written:
        for size, stride in sorted(zip(shape[:free], x.stride()[:free], strict=True), key=lambda pair: pair[1]):
            if size > 1 and stride < inner:
                return f"it would be written into, and its strides {x.stride()} let elements share memory"
            inner = max(inner, size * stride)
    return None
