"""Spoken digits: TIDigits and the Free Spoken Digit Dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snntorch_brp.data.check import Corpus, audible
from snntorch_brp.data.filterbank import FilterBank
from snntorch_brp.data.recordings import Recording
from snntorch_brp.data.speech import Layout, SpeechSpikes, find_fsdd, find_tidigits, load_energies
from snntorch_brp.data.splits import SplitBy
from snntorch_brp.tasks.base import Files, Option, Task, TrainTest
from snntorch_brp.tasks.draw import speech_pictures
from snntorch_brp.tasks.protocol import FrozenConv, Override, Protocol, Speakers
from snntorch_brp.tasks.recordings import RecordingOptions, options

BANDS = 30


@dataclass(frozen=True)
class SpeechSet:
    """A set of spoken digits: how it is found, and what it is trained with."""

    title: str
    short_title: str
    find: Callable[[Path], Sequence[Recording]]
    networks: Mapping[str, str]  # by layout
    layout: Layout
    split: SplitBy
    alpha: float
    epochs: int
    batch_size: int
    corpus: Corpus
    pattern: str
    label_only: Protocol
    budgets: Mapping[str, Mapping[str, Override]]  # by layout
    stands_in_for: str | None = None


def speech_task(
    source: SpeechSet,
    *,
    steps: int,
    device: str = "cpu",
    layout: Layout | None = None,
    **choices: Any,
) -> Task:
    """The task of a set of spoken digits, with its options; ``choices`` are those of :class:`RecordingOptions`.

    The filter bank is computed on ``device``.
    """
    chosen = RecordingOptions(**{"split": source.split, **choices})
    layout = layout or source.layout
    frames = steps if layout == "1d" else BANDS

    def load(root: Path | None) -> TrainTest:
        assert root is not None
        bank = FilterBank(BANDS, frames)
        found = source.find(root)
        good, energies, _ = load_energies(found, bank, device=device, cache=chosen.store, on_bad=chosen.on_bad)
        return chosen.part(good, energies)

    return Task(
        title=source.title,
        short_title=source.short_title,
        load=load,
        files=Files(pattern=source.pattern, check=source.corpus.check),
        input_shape=(1, BANDS) if layout == "1d" else (1, frames, BANDS),
        num_classes=10,
        network=source.networks[layout],
        steps=steps,
        epochs=source.epochs,
        alpha=source.alpha,
        batch_size=source.batch_size,
        encoder=lambda steps, alpha: SpeechSpikes(layout, steps=steps, alpha=alpha),
        draw=partial(speech_pictures, title=source.short_title, find=source.find),
        label_only=source.label_only,
        budgets=source.budgets[layout],
        stands_in_for=source.stands_in_for,
        options={
            "layout": Option(source.layout, ("1d", "2d"), "one frame a step, or all frames as an image at each"),
            **options(split=source.split),
        },
        configure=partial(speech_task, source),
    )


def by_speaker(find: Callable[[Path], Sequence[Recording]]) -> Speakers:
    """Reads the filter banks of all recordings that ``find`` lists, one image ``[1, frames, bands]`` each."""

    def read(root: Path) -> tuple[Tensor, Tensor, list[str]]:
        recordings, energies, _ = load_energies(find(root), FilterBank(BANDS, BANDS))
        labels = torch.tensor([recording.label for recording in recordings])
        return energies.unsqueeze(1), labels, [recording.speaker for recording in recordings]

    return read


STUDY_CONV = FrozenConv(channels=64, kernel=5, pool=4)
BUDGETS = {
    "1d": {
        "quick": Override(network="Conv1x3x30-FC300-FC10", calibrated=True),
        "short": Override(batch_size=20, calibrated=True),
        "paper": Override(long_epochs=800),
    },
    "2d": {
        "quick": Override(network="Conv5x5x12-S2-FC300-FC10"),
        "short": Override(batch_size=20),
        "paper": Override(long_epochs=800),
    },
}
NETWORKS = {"1d": "Conv1x3x100-FC1000-FC10", "2d": "Conv5x5x28-S2-FC1000-FC10"}
TIDIGITS = speech_task(
    SpeechSet(
        short_title="TIDigits",
        title="TIDigits, isolated spoken digits, 30 bands by 30 frames",
        find=find_tidigits,
        networks=NETWORKS,
        layout="1d",
        split="corpus",
        alpha=0.1,
        epochs=20,
        batch_size=50,
        corpus=Corpus(
            name="TIDigits (isolated digits)", find=lambda root: (find_tidigits(root), "0123456789"), decoded=audible
        ),
        pattern="[tT][rReE][aAsS]*/*/*/*.[wW][aA][vV]",  # train and test
        label_only=Protocol(conv=STUDY_CONV, epochs=15),
        budgets=BUDGETS,
    ),
    steps=30,
)
FSDD = speech_task(
    SpeechSet(
        short_title="Free Spoken Digit Dataset",
        title="Free Spoken Digit Dataset, 30 bands by 30 frames",
        find=find_fsdd,
        networks={**NETWORKS, "2d": "Conv5x5x16-S2-FC300-FC10"},
        layout="2d",
        split="random",
        alpha=1.0,
        epochs=20,
        batch_size=20,
        corpus=Corpus(
            name="Free Spoken Digit Dataset",
            find=lambda root: (find_fsdd(root), "0123456789"),
            decoded=audible,
            whole={"train": 2700, "test": 300},
            note="train and test are the owner's split; `train fsdd` draws its own unless --split corpus",
        ),
        pattern="recordings/*_*_*.[wW][aA][vV]",
        label_only=Protocol(conv=STUDY_CONV, epochs=15, speakers=by_speaker(find_fsdd)),
        budgets=BUDGETS,
        stands_in_for="tidigits",
    ),
    steps=20,
)
