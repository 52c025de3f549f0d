"""What the user may choose for every set of recordings: how it is parted, what bad ones do, where it is cached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from snntorch_brp.data.cache import Cache
from snntorch_brp.data.recordings import OnBad, Recording
from snntorch_brp.data.splits import SplitBy, split
from snntorch_brp.tasks.base import Option, Sets


@dataclass(frozen=True)
class Choices:
    """The choices made.

    Attributes:
        split: How recordings are parted into training and test set.
        speaker: The one who is held back by a split by speaker.
        split_seed: Seed of the draw, where there is one.
        on_bad: Whether a damaged recording ends the run or is skipped.
        cache: Folder of decoded recordings, or "off".
    """

    split: SplitBy = "corpus"
    speaker: str | None = None
    split_seed: int | str = 0
    on_bad: OnBad = "error"
    cache: str = "off"

    @property
    def store(self) -> Cache | None:
        """The cache.

        Raises:
            ValueError: If its folder has no name.
        """
        if not self.cache.strip():
            raise ValueError("--cache '' names no folder: use . for this one, or off")
        return Cache.named(self.cache)

    def part(self, recordings: Sequence[Recording], samples: Tensor) -> Sets:
        """Part the samples, each set in a random order, so that its first so many are of all classes."""
        if self.speaker is not None and self.split != "speaker":
            raise ValueError(f"--speaker {self.speaker} holds back one speaker: it goes with --split speaker")
        try:
            seed = int(self.split_seed)
        except ValueError:
            raise ValueError(f"--split-seed must be a whole number, got {self.split_seed!r}") from None
        if not 0 <= seed < 2**63:
            raise ValueError(f"--split-seed must lie in 0..2^63-1, got {seed}")
        train, test, description = split(recordings, self.split, speaker=self.speaker, seed=seed)
        labels = torch.tensor([recording.label for recording in recordings])
        draw = torch.Generator().manual_seed(seed)
        orders = [torch.tensor(part)[torch.randperm(len(part), generator=draw)] for part in (train, test)]
        train_set, test_set = (TensorDataset(samples[order], labels[order]) for order in orders)
        if self.split != "speaker":
            return Sets(train_set, test_set, description)
        names = sorted({recording.speaker for recording in recordings})
        numbers = torch.tensor([names.index(recording.speaker) for recording in recordings])
        return Sets(train_set, test_set, description, groups=numbers[orders[0]])


def options(*, split: SplitBy) -> Mapping[str, Option]:
    """The choices as options of a task; ``split`` is the default one."""
    kinds = ("corpus", "random", "speaker")
    return {
        "split": Option(split, kinds, "the test set is the owner's, a random 30 %% of recordings, or other speakers"),
        "speaker": Option(None, (), "who is held back by --split speaker (default: 30 %% of them, drawn)"),
        "split_seed": Option("0", (), "seed of the draw of the split"),
        "on_bad": Option("error", ("error", "skip"), "what to do with a damaged recording"),
        "cache": Option(str(Cache.default().folder), (), "folder of decoded recordings, or off"),
    }
