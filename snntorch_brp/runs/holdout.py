"""A part of the training data held back for validation, on which everything is chosen that is chosen in a run."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset

from snntorch_brp.tasks.base import Sets

logger = logging.getLogger(__name__)


def hold_back(sets: Sets, share: float, *, seed: int) -> Sets:
    """Move a part of the training set into ``validation``.

    Samples are drawn so that each class gives its share, up to one sample; where the sets are parted by speaker, whole
    speakers are drawn, so that validation is by strangers as the test is; not where one speaker alone is left.

    Args:
        sets: What was loaded.
        share: Part of the training samples (or of their speakers), 0..1; 0 holds nothing back.
        seed: Of the draw.

    Raises:
        ValueError: If ``share`` is out of range, or would leave nothing on one side.
    """
    if not 0 <= share < 1:
        raise ValueError(f"the part held back for validation must lie in 0..1 (not 1 itself), got {share}")
    if share == 0:
        return sets
    generator = torch.Generator().manual_seed(seed)
    groups = None if sets.groups is None else sets.groups[: _size(sets.train)]  # the training set may have been cut
    if groups is not None and len(groups.unique()) < 2:
        logger.warning("one speaker alone to train on: validation is by held-back samples of the same speaker")
        groups = None
    held = _by_class(_labels(sets.train), share, generator) if groups is None else _by_group(groups, share, generator)
    if not held.any() or held.all():
        raise ValueError(
            f"there are too few training samples to hold back {share:g} of them for validation: use --validation 0"
        )
    learn, validation = (torch.nonzero(part).flatten().tolist() for part in (~held, held))
    return sets._replace(train=_take(sets.train, learn), validation=_take(sets.train, validation), groups=None)


def _by_class(labels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Which samples are held back: every so-manieth, after they were shuffled and then sorted by class."""
    order = torch.randperm(len(labels), generator=generator)
    order = order[labels[order].argsort(stable=True)]
    count = round(share * len(labels))
    places = ((torch.arange(count) + 0.5) * len(labels) / max(count, 1)).long()
    held = torch.zeros(len(labels), dtype=torch.bool)
    held[order[places]] = True
    return held


def _by_group(groups: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Which samples are held back: those of at least one group."""
    names = groups.unique()
    drawn = names[torch.randperm(len(names), generator=generator)[: max(1, round(share * len(names)))]]
    return torch.isin(groups, drawn)


def _labels(dataset: Dataset) -> Tensor:
    if isinstance(dataset, TensorDataset):
        return dataset.tensors[1]
    return torch.tensor([int(dataset[place][1]) for place in range(_size(dataset))])


def _take(dataset: Dataset, places: Sequence[int]) -> Dataset:
    if isinstance(dataset, TensorDataset):
        return TensorDataset(*(tensor[places] for tensor in dataset.tensors))
    return Subset(dataset, places)


def _size(dataset: Dataset) -> int:
    return len(dataset)  # type: ignore[arg-type]
