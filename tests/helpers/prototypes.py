"""A small task that can be learned."""

from __future__ import annotations

import torch
from torch.utils.data import TensorDataset


def prototypes(count: int, *, seed: int = 0) -> TensorDataset:
    """Three noisy patterns of 20 pixels."""
    generator = torch.Generator().manual_seed(seed)
    patterns = (torch.rand(3, 20, generator=torch.Generator().manual_seed(9)) < 0.5).float()
    labels = torch.randint(3, (count,), generator=generator)
    x = 0.8 * patterns[labels] + 0.2 * torch.rand(count, 20, generator=generator)
    return TensorDataset(x, labels)
