"""Spoken digits: TIDigits and the Free Spoken Digit Dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from snntorch_brp.data.filterbank import FilterBank
from snntorch_brp.data.recordings import Recording
from snntorch_brp.data.speech import Layout, SpeechSpikes, find_fsdd, find_tidigits, load_energies
from snntorch_brp.data.splits import SplitBy
from snntorch_brp.tasks.base import Option, Sets, Task
from snntorch_brp.tasks.recordings import Choices, options

BANDS = 30


@dataclass(frozen=True)
class SpeechSet:
    """A set of spoken digits: how it is found, and what it is trained with."""

    title: str
    find: Callable[[Path], Sequence[Recording]]
    networks: Mapping[str, str]  # by layout
    layout: Layout
    split: SplitBy
    alpha: float
    epochs: int
    batch_size: int


def speech_task(
    source: SpeechSet,
    *,
    steps: int,
    device: str = "cpu",
    layout: Layout | None = None,
    **choices: Any,
) -> Task:
    """The task of a set of spoken digits, with its options; ``choices`` are those of :class:`Choices`.

    The filter bank is computed on ``device``.
    """
    chosen = Choices(**{"split": source.split, **choices})
    layout = layout or source.layout
    frames = steps if layout == "1d" else BANDS

    def load(root: Path | None) -> Sets:
        assert root is not None
        bank = FilterBank(BANDS, frames)
        found = source.find(root)
        good, energies, _ = load_energies(found, bank, device=device, cache=chosen.store, on_bad=chosen.on_bad)
        return chosen.part(good, energies)

    return Task(
        title=source.title,
        load=load,
        input_shape=(1, BANDS) if layout == "1d" else (1, frames, BANDS),
        num_classes=10,
        network=source.networks[layout],
        steps=steps,
        epochs=source.epochs,
        alpha=source.alpha,
        batch_size=source.batch_size,
        encoder=lambda steps, alpha: SpeechSpikes(layout, steps=steps, alpha=alpha),
        options={
            "layout": Option(source.layout, ("1d", "2d"), "one frame a step, or all frames as an image at each"),
            **options(split=source.split),
        },
        configure=partial(speech_task, source),
    )


NETWORKS = {"1d": "Conv1x3x100-FC1000-FC10", "2d": "Conv5x5x28-S2-FC1000-FC10"}
TIDIGITS = speech_task(
    SpeechSet(
        title="TIDigits, isolated spoken digits, 30 bands by 30 frames",
        find=find_tidigits,
        networks=NETWORKS,
        layout="1d",
        split="corpus",
        alpha=0.1,
        epochs=20,
        batch_size=50,
    ),
    steps=30,
)
FSDD = speech_task(
    SpeechSet(
        title="Free Spoken Digit Dataset, 30 bands by 30 frames",
        find=find_fsdd,
        networks={**NETWORKS, "2d": "Conv5x5x16-S2-FC300-FC10"},
        layout="2d",
        split="random",
        alpha=1.0,
        epochs=20,
        batch_size=20,
    ),
    steps=20,
)
