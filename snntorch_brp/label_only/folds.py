"""The ladder's data: a training, a validation and a test part of every task, and how samples become input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from snntorch_brp.data.filterbank import FilterBank
from snntorch_brp.data.speech import find_fsdd, load_energies
from snntorch_brp.encoding import DirectEncoder
from snntorch_brp.paper.budgets import Setting
from snntorch_brp.paper.lab import Lab
from snntorch_brp.tasks.speech import BANDS

VALIDATION = 1 / 6  # of the training data
NOT_OURS = 0  # seed of the order in which samples are parted


@dataclass(frozen=True)
class Fold:
    """A task's data, parted.

    Attributes:
        name: For the store of finished trainings.
        split: How it was parted.
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


def folds(lab: Lab, setting: Setting, *, steps: int) -> list[Fold]:
    """The data of a task; for the Free Spoken Digit Dataset a fold for each speaker who is held out.

    Args:
        lab: Whose budget limits the samples.
        setting: The task.
        steps: Time steps T.
    """
    limit, test_limit = lab.budget.train, lab.budget.test
    if setting.task == "fsdd":
        assert setting.data is not None
        return _speakers(setting.data, DirectEncoder(steps), limit, test_limit)
    task = setting.configured(steps=steps, device=lab.device)
    sets = task.load(setting.data)
    encoder, coding = (sets.encoder or task.encoder(steps, task.alpha)), "events"
    if task.rate_coded:
        encoder, coding = DirectEncoder(steps), "direct"
    train, test = _tensors(sets.train), _tensors(sets.test)
    if setting.slot.options.get("layout"):
        train, test = ((x.unsqueeze(1), y) for x, y in (train, test))
    order = torch.randperm(len(train[0]), generator=torch.Generator().manual_seed(NOT_OURS))[:limit]
    held = round(len(order) * VALIDATION)
    learn, validation = (TensorDataset(*(part[rows] for part in train)) for rows in (order[held:], order[:held]))
    split = f"{sets.split}; validation a random sixth of the training data"
    last = TensorDataset(*(part[:test_limit] for part in test))
    return [Fold(setting.task, split, coding, encoder, task.num_classes, learn, validation, last)]


def _tensors(dataset: Dataset) -> Sequence[Tensor]:
    assert isinstance(dataset, TensorDataset)  # as every task with frames or images in memory has
    return dataset.tensors


def _speakers(root: Path, encoder: DirectEncoder, limit: int | None, test_limit: int | None) -> list[Fold]:
    """Each speaker in turn is tested on, and the next one validates: all three parts are strangers to each other."""
    recordings, energies, _ = load_energies(find_fsdd(root), FilterBank(BANDS, BANDS))
    labels = torch.tensor([recording.label for recording in recordings])
    speakers = sorted({recording.speaker for recording in recordings})
    if len(speakers) < 3:
        raise ValueError(f"training, validation and test each need speakers of their own; {root} has {speakers}")
    by_speaker = [torch.tensor([r.speaker == speaker for r in recordings]).nonzero()[:, 0] for speaker in speakers]
    draw = torch.Generator().manual_seed(NOT_OURS)
    found = []
    for place, speaker in enumerate(speakers):
        following = (place + 1) % len(speakers)
        rest = torch.cat([rows for i, rows in enumerate(by_speaker) if i not in (place, following)])
        rest, validation, test = (
            rows[torch.randperm(len(rows), generator=draw)[:most]]
            for rows, most in ((rest, limit), (by_speaker[following], test_limit), (by_speaker[place], test_limit))
        )
        parts = (TensorDataset(energies[rows].unsqueeze(1), labels[rows]) for rows in (rest, validation, test))
        split = f"held-out speaker ({speaker}), validation by {speakers[following]}"
        found.append(Fold(f"fsdd-{speaker}", split, "direct", encoder, 10, *parts))
    return found
