"""Memory that is kept from step to step: pages fresh from the system cost as much as the arithmetic on them."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import torch
from torch import Tensor

_held = threading.local()


def scratch(role: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """An uninitialised CPU tensor, good until the next call of this thread with the same role and dtype."""
    key, size = f"{role} {dtype}", math.prod(shape)
    held = _held.__dict__.get(key)
    if held is None or held.numel() < size:
        held = _held.__dict__[key] = torch.empty(size, dtype=dtype)
    return held[:size].view(*shape)
