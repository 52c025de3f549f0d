"""The study's data: a training, a validation and a test part of every task, and how samples become input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from snntorch_brp.encoding import DirectEncoder
from snntorch_brp.paper.datasets import DatasetInUse
from snntorch_brp.paper.lab import Lab
from snntorch_brp.tasks.base import Task
from snntorch_brp.tasks.protocol import Protocol

VALIDATION = 1 / 6  # of the training data
SPLIT_SEED = 0


@dataclass(frozen=True)
class Fold:
    """A task's data, split.

    Attributes:
        name: For the store of finished trainings.
        split: How it was split.
        coding: How samples become input.
        encoder: Samples ``[B, *]`` to the network's input, ``[T, B, C, H, W]``.
        num_classes: Number of classes K.
        learn: What is trained on.
        validation: What choices are made by.
        test: What is read once.
    """

    name: str
    split: str
    coding: str
    encoder: Callable[[Tensor], Tensor]
    num_classes: int
    learn: TensorDataset
    validation: TensorDataset
    test: TensorDataset

    @property
    def sizes(self) -> str:
        """How many samples there are of each part."""
        return f"{len(self.learn)} training, {len(self.validation)} validation, {len(self.test)} test"


def folds(lab: Lab, dataset: DatasetInUse, protocol: Protocol, *, validation: float = VALIDATION) -> list[Fold]:
    """The data of a task: one fold, or one for each speaker who is held out, as the protocol says.

    Args:
        lab: Whose budget limits the samples.
        dataset: The data set.
        protocol: Settings of the study on it.
        validation: Part of the training data that is held back, where the speakers do not say.

    Raises:
        ValueError: If the data does not go with the protocol.
    """
    task = dataset.configured(steps=protocol.steps, device=lab.device)
    limits = (lab.budget.train, lab.budget.test)
    if protocol.speakers is not None:
        if dataset.data is None:
            raise ValueError(f"{dataset.task} has no folder to read speakers from")
        samples, labels, speakers = protocol.speakers(dataset.data)
        return _by_speaker(dataset, task, samples, labels, speakers, DirectEncoder(protocol.steps), limits)
    sets = task.load(dataset.data)
    encoder, coding = (sets.encoder or task.encoder(protocol.steps, task.alpha)), "events"
    train, test = _tensors(sets.train), _tensors(sets.test)
    if task.rate_coded:
        encoder, coding = DirectEncoder(protocol.steps), "direct"
        train, test = ((x.reshape(len(x), *task.input_shape), y) for x, y in (train, test))
    order = torch.randperm(len(train[0]), generator=torch.Generator().manual_seed(SPLIT_SEED))[: limits[0]]
    held = round(len(order) * validation)
    learn, held_back = (TensorDataset(*(part[rows] for part in train)) for rows in (order[held:], order[:held]))
    share = "sixth" if validation == VALIDATION else f"{validation:.0%}"
    split = f"{sets.split}; validation a random {share} of the training data"
    last = TensorDataset(*(part[: limits[1]] for part in test))
    return [Fold(dataset.task, split, coding, encoder, task.num_classes, learn, held_back, last)]


def _tensors(dataset: Dataset) -> Sequence[Tensor]:
    if not isinstance(dataset, TensorDataset) or len(dataset.tensors) != 2:
        raise ValueError(
            f"the label-only study computes features of whole tensors: load a TensorDataset of samples and labels, "
            f"got {type(dataset).__name__}; or set label_only=None in the task's record"
        )
    return dataset.tensors


def _by_speaker(
    dataset: DatasetInUse, task: Task, samples: Tensor, labels: Tensor, speakers: Sequence[str],
    encoder: DirectEncoder, limits: tuple[int | None, int | None],
) -> list[Fold]:  # fmt: skip
    """Each speaker in turn is tested on, and the next one validates: no two parts share a speaker."""
    names = sorted(set(speakers))
    if len(names) < 3:
        raise ValueError(f"training, validation and test each need other speakers; {dataset.data} has {names}")
    rows_of = [torch.tensor([speaker == name for speaker in speakers]).nonzero()[:, 0] for name in names]
    draw = torch.Generator().manual_seed(SPLIT_SEED)
    found = []
    for place, name in enumerate(names):
        following = (place + 1) % len(names)
        rest = torch.cat([rows for i, rows in enumerate(rows_of) if i not in (place, following)])
        learn, validation, test = (
            rows[torch.randperm(len(rows), generator=draw)[:most]]
            for rows, most in ((rest, limits[0]), (rows_of[following], limits[1]), (rows_of[place], limits[1]))
        )
        parts = (TensorDataset(samples[rows], labels[rows]) for rows in (learn, validation, test))
        split = f"held-out speaker ({name}), validation by {names[following]}"
        found.append(Fold(f"{dataset.task}-{name}", split, "direct", encoder, task.num_classes, *parts))
    return found
