"""Batches of a data set."""

from __future__ import annotations

import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler, Subset, TensorDataset


def batches(
    dataset: Dataset,
    batch_size: int,
    *,
    shuffle: bool = False,
    generator: torch.Generator | None = None,
) -> DataLoader:
    """A loader of ``(x, labels)`` batches; the last one may be smaller, and is kept.

    A set of tensors is indexed once a batch, not once a sample, which takes a small fraction of the time.

    Args:
        dataset: Any map-style data set.
        batch_size: Samples in a batch.
        shuffle: Draw a new order every epoch.
        generator: Source of the orders.

    Raises:
        ValueError: If the data set is empty or ``batch_size`` is not positive.
    """
    if not len(dataset):  # type: ignore[arg-type]
        raise ValueError("the data set is empty")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if not isinstance(dataset, TensorDataset):
        return DataLoader(dataset, batch_size, shuffle=shuffle, generator=generator)
    order = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
    return DataLoader(dataset, sampler=BatchSampler(order, batch_size, drop_last=False), batch_size=None)


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
