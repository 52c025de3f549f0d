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
_lent = {"now": 0, "at most": 0}  # bytes of blocks that somebody uses
SMALL = 1 << 20  # bytes that the allocator keeps by itself
LARGEST = 16  # deep networks halve their images a few times, and one step's blocks serve them all


def scratch(role: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """An uninitialized CPU tensor, good until the next call of this thread with the same role and dtype."""
    key, size = f"{role} {dtype}", math.prod(shape)
    held = _held.__dict__.get(key)
    if held is None or held.numel() < size:
        held = _held.__dict__[key] = torch.empty(size, dtype=dtype, device="cpu")
    return held[:size].view(*shape)


def recycled(shape: Sequence[int], *, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """An uninitialized tensor whose memory, on the CPU, is reused once nobody holds it or a view of it any more.

    A free block of up to ``LARGEST`` times the size will do. If there is none, and a further one would make more of
    them than were ever in use at once, all free blocks are released: the pool never exceeds the buffers of one step.
    """
    dtype = dtype or like.dtype
    size = math.prod(shape) * dtype.itemsize
    if size < SMALL or like.device.type != "cpu":
        return like.new_empty(shape, dtype=dtype)
    try:
        block = _free[min(free for free in list(_free) if size <= free <= LARGEST * size and _free[free])].pop()
    except (KeyError, IndexError, ValueError):
        if _lent["now"] + size + sum(each * len(blocks) for each, blocks in list(_free.items())) > _lent["at most"]:
            _free.clear()
        block = torch.empty(size, dtype=torch.uint8, device="cpu")
    _lent["now"] += len(block)
    _lent["at most"] = max(_lent.values())
    lent = (ctypes.c_byte * size).from_address(block.data_ptr())  # dies with the last tensor on it
    weakref.finalize(lent, _give_back, block).atexit = False
    return torch.frombuffer(lent, dtype=dtype).view(*shape)


def sample_major(shape: Sequence[int], *, like: Tensor, dtype: torch.dtype, channels_last: bool) -> Tensor:
    """Memory ``[T, B, *]`` with the samples outside, so that a chunk is one piece of it."""
    T, B, *neurons = shape
    if channels_last and len(neurons) > 1:
        return recycled((B, T, *neurons[1:], neurons[0]), like=like, dtype=dtype).transpose(0, 1).movedim(-1, 2)
    return recycled((B, T, *neurons), like=like, dtype=dtype).transpose(0, 1)


def _give_back(block: Tensor) -> None:
    _lent["now"] -= len(block)
    _free.setdefault(len(block), []).append(block)
