"""Delayed match to sample: two symbols, far apart in time, and the question whether they were the same."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

SYMBOLS = 2
CHANNELS = 10  # of each symbol
NOISE = 0.02  # probability of a spike where there is no symbol
SIGNAL = 0.5  # and where there is one


def delayed_match(count: int, *, steps: int = 12, shown: int = 3, seed: int = 0) -> TensorDataset:
    """Spikes of a cue, of a delay with noise alone, and of a probe that is the cue's symbol (class 1) or another (0).

    Neither symbol alone says anything about the class, and neither do counts over the whole sequence of any one
    channel: at the probe a network must still know the cue.

    Args:
        count: Number of samples; the classes are as often one as the other, but for one.
        steps: Time steps T, cue and probe included.
        shown: Steps for which cue and probe are shown.
        seed: Of the draw.

    Returns:
        Spikes ``[count, T, 20]`` and labels ``[count]``.

    Raises:
        ValueError: If cue and probe do not fit into the steps.

    Example:
        >>> spikes, labels = delayed_match(6).tensors
        >>> spikes.shape, labels.bincount()
        (torch.Size([6, 12, 20]), tensor([3, 3]))
    """
    if steps < 2 * shown or shown < 1:
        raise ValueError(f"cue and probe of {shown} steps each do not fit into {steps} steps")
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count)[torch.randperm(count, generator=generator)] % 2
    cue = torch.randint(SYMBOLS, (count,), generator=generator)
    other = (cue + torch.randint(1, SYMBOLS, (count,), generator=generator)) % SYMBOLS
    rate = torch.full((count, steps, SYMBOLS), NOISE)
    rate[:, :shown] = _rates(cue)
    rate[:, steps - shown :] = _rates(torch.where(labels == 1, cue, other))
    rate = rate.repeat_interleave(CHANNELS, dim=2)
    return TensorDataset((torch.rand(rate.shape, generator=generator) < rate).float(), labels)


def _rates(symbol: Tensor) -> Tensor:
    """Of each symbol's channels while one is shown, ``[N, 1, SYMBOLS]``."""
    return torch.where(torch.arange(SYMBOLS) == symbol[:, None], SIGNAL, NOISE)[:, None]
