"""Batches of a data set, in an order that can be gone on with from any place."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Dataset, SequentialSampler, Subset, TensorDataset, default_collate
from torchdata.stateful_dataloader import StatefulDataLoader
from torchdata.stateful_dataloader.sampler import BatchSampler, RandomSampler

from snntorch_brp.data.augment import Augmentation
from snntorch_brp.runtime.randomness import set_worker_state, worker_state


def batches(
    dataset: Dataset,
    batch_size: int,
    *,
    shuffle: bool = False,
    workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    generator: torch.Generator | None = None,
    augment: Augmentation | None = None,
) -> StatefulDataLoader:
    """A loader of ``(x, labels)`` batches; the last one may be smaller, and is kept.

    A set of tensors is indexed once a batch, not once a sample, which takes a small fraction of the time. The loader
    knows its place: its ``state_dict()`` brings a new one to the same sample, worker processes included.

    Args:
        dataset: Any map-style data set.
        batch_size: Samples in a batch, of all processes together.
        shuffle: Draw a new order every epoch.
        workers: Processes that read ahead; 0 reads in this one.
        rank: Number of this process; it gets its own part of every batch.
        world_size: Number of processes that share the batches. Where a last batch has fewer samples than there are
            processes, those without one get None.
        generator: Source of the orders, the same on every rank; seeded from torch's own when None.
        augment: What is done to the images of a batch.

    Raises:
        ValueError: If the data set is empty, or a number is out of range.
    """
    if not len(dataset):  # type: ignore[arg-type]
        raise ValueError("the data set is empty")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must lie in 0..{world_size - 1} (world_size={world_size}), got {rank}")
    if generator is None:
        generator = torch.Generator()
        if shuffle:
            generator.manual_seed(int(torch.randint(2**62, ())))
    if workers < 0:
        raise ValueError(f"workers must not be negative, got {workers}")
    order = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'set_vital' is deprecated")  # a call of torchdata's, of no consequence
        return StatefulDataLoader(
            _Parts(dataset, rank, world_size, augment),
            batch_size=None,
            sampler=BatchSampler(order, batch_size, drop_last=False),
            num_workers=workers,
            generator=generator,
        )


class _Parts(Dataset):
    """A data set that is asked for a batch, and gives one process's part of it."""

    def __init__(self, dataset: Dataset, rank: int, world_size: int, augment: Augmentation | None) -> None:
        self.dataset, self.rank, self.world_size, self.augment = dataset, rank, world_size, augment

    def __getitem__(self, batch: Sequence[int]) -> Any:
        part = part_of(len(batch), self.rank, self.world_size)
        rows = list(batch[part])
        if not rows:
            return None
        whole = isinstance(self.dataset, TensorDataset)
        found = self.dataset[rows] if whole else default_collate([self.dataset[row] for row in rows])
        if self.augment is None:
            return found
        images, *rest = found
        return self.augment(images, batch, part=part), *rest

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, Any]:
        """Of a worker: its random numbers, from which a sample may be changed at random."""
        return worker_state()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with them."""
        set_worker_state(state)


def part_of(count: int, rank: int, world_size: int) -> slice:
    """The rows of a batch of ``count`` samples that belong to one of ``world_size`` processes.

    Parts follow each other, do not overlap, and differ by at most one sample.

    Example:
        >>> [part_of(5, rank, 3) for rank in range(3)]
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    least, more = divmod(count, world_size)
    start = rank * least + min(rank, more)
    return slice(start, start + least + (rank < more))


def head(dataset: Dataset, count: int | None) -> Dataset:
    """The first ``count`` samples of a data set; all where None.

    Raises:
        ValueError: If ``count`` is not positive.
    """
    if count is None:
        return dataset
    if count < 1:
        raise ValueError(f"the number of samples must be at least 1, got {count}")
    if isinstance(dataset, TensorDataset):
        return TensorDataset(*(tensor[:count] for tensor in dataset.tensors))
    return Subset(dataset, range(min(count, len(dataset))))  # type: ignore[arg-type]
