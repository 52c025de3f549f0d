"""Memory that is kept from step to step: pages fresh from the system cost as much as the arithmetic on them."""

from __future__ import annotations

import ctypes
import math
import threading
import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

_held = threading.local()
_free: dict[int, list[Tensor]] = {}  # blocks of bytes that nobody uses now, by size
SMALL = 1 << 20  # bytes that the allocator keeps by itself


def scratch(role: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """An uninitialized CPU tensor, good until the next call of this thread with the same role and dtype."""
    key, size = f"{role} {dtype}", math.prod(shape)
    held = _held.__dict__.get(key)
    if held is None or held.numel() < size:
        held = _held.__dict__[key] = torch.empty(size, dtype=dtype, device="cpu")
    return held[:size].view(*shape)


def recycled(shape: Sequence[int], *, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """An uninitialized tensor whose memory, on the CPU, is reused once nobody holds it or a view of it any more.

    A free block of up to twice the size will do. If there is none, all free blocks are released, so the pool never
    exceeds the buffers of one training step.
    """
    dtype = dtype or like.dtype
    size = math.prod(shape) * dtype.itemsize
    if size < SMALL or like.device.type != "cpu":
        return like.new_empty(shape, dtype=dtype)
    try:
        block = _free[min(free for free in list(_free) if size <= free <= 2 * size and _free[free])].pop()
    except (KeyError, IndexError, ValueError):
        _free.clear()
        block = torch.empty(size, dtype=torch.uint8, device="cpu")
    lent = (ctypes.c_byte * size).from_address(block.data_ptr())  # dies with the last tensor on it
    weakref.finalize(lent, _give_back, block).atexit = False
    return torch.frombuffer(lent, dtype=dtype).view(*shape)


def _give_back(block: Tensor) -> None:
    _free.setdefault(len(block), []).append(block)
