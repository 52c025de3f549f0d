"""Event-camera tasks: DvsGesture and N-MNIST."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from snntorch_brp.data.check import Corpus, events_on
from snntorch_brp.data.device_events import ResidentEvents
from snntorch_brp.data.events import (
    GESTURES,
    EventSpikes,
    Frames,
    find_dvsgesture,
    find_nmnist,
    is_simulated,
    load_frames,
)
from snntorch_brp.data.framing import Events, Sensor, validate_events
from snntorch_brp.data.optional import EVENTS, require
from snntorch_brp.data.recordings import Recording, read_all
from snntorch_brp.tasks.base import Files, Option, Simulation, Task, TrainTest
from snntorch_brp.tasks.draw import Pictures, event_pictures
from snntorch_brp.tasks.protocol import FrozenConv, Override, Protocol
from snntorch_brp.tasks.recordings import RecordingOptions, options


@dataclass(frozen=True)
class EventSet:
    """An event-camera data set: how it is found, and the sizes of its sensor and of the frames."""

    title: str
    short_title: str
    find: Callable[[Path], Sequence[Recording]]
    sensor: Sensor
    size: Sensor
    classes: Sequence[str]
    pattern: str
    whole: Mapping[str, int]
    network: str
    steps: int
    epochs: int
    label_only: Protocol
    budgets: Mapping[str, Override]
    stands_in_for: str | None = None
    simulation: Simulation | None = None

    @property
    def corpus(self) -> Corpus:
        """How all of it is checked."""
        return Corpus(
            name=self.short_title,
            find=lambda root: (self.find(root), self.classes),
            decoded=events_on(self.sensor),
            whole=self.whole,
            simulated=lambda root: self.simulation is not None and self.simulation.found_in(root),
            partly=True,
        )

    def pictures(self, root: Path | None, index: int, steps: int) -> Pictures:
        """One recording, drawn."""
        return event_pictures(
            root, index, steps, title=self.short_title, find=self.find, classes=self.classes, sensor=self.sensor,
            size=self.size, note=lambda root: ", simulated" if self.corpus.simulated(root) else "",
        )  # fmt: skip


def event_task(
    source: EventSet,
    *,
    steps: int,
    device: str = "cpu",
    polarities: str = "separate",
    frames: str | None = None,
    events: str = "frames",
    **choices: Any,
) -> Task:
    """The task of an event-camera data set, with its options; ``choices`` are those of :class:`RecordingOptions`."""
    chosen = RecordingOptions(**choices)
    if frames is not None and not (frames.isascii() and frames.isdecimal() and len(frames) < 10):
        raise ValueError(f"--frames must be a whole number, got {frames!r}")
    merged, count = polarities == "merged", int(frames or steps)
    if count < steps:
        raise ValueError(f"--frames {count} is less than --steps {steps}: there is nothing to draw from")
    if count > steps and events == "raw":
        raise ValueError("--frames draws from frames made beforehand: it does not go with --events raw")
    framing = Frames(count, source.sensor, source.size, merge_polarities=merged)

    def load(root: Path | None) -> TrainTest:
        assert root is not None
        found = source.find(root)
        if events == "raw":
            good, recordings, _ = read_all(found, _validated(source.sensor), on_bad=chosen.on_bad)
            resident = ResidentEvents(recordings, framing, device=device)
            sets = chosen.part(good, torch.arange(len(good)))._replace(encoder=resident)
        else:
            good, packed, _ = load_frames(found, framing, cache=chosen.store, on_bad=chosen.on_bad)
            sets = chosen.part(good, packed)
        if source.simulation is None or not source.simulation.found_in(root):
            return sets
        return sets._replace(split=f"{source.simulation.title}, {sets.split}", simulated=True)

    return Task(
        title=source.title,
        short_title=source.short_title,
        load=load,
        files=Files(pattern=source.pattern, check=source.corpus.check),
        input_shape=(1 if merged else 2, source.size[1], source.size[0]),
        num_classes=len(source.classes),
        network=source.network,
        steps=source.steps,
        epochs=source.epochs,
        encoder=lambda steps, alpha: EventSpikes(source.size[0], None if count == steps else steps),
        rate_coded=False,
        draw=source.pictures,
        label_only=source.label_only,
        budgets=source.budgets,
        stands_in_for=source.stands_in_for,
        simulation=source.simulation,
        options={
            "polarities": Option("separate", ("separate", "merged"), "a channel for each polarity, or one for both"),
            "frames": Option(None, (), "cut recordings into so many frames, and draw --steps of them each time"),
            "events": Option("frames", ("frames", "raw"), "keep frames, or raw events on the device, framed there"),
            **options(split="corpus"),
        },
        configure=partial(event_task, source),
    )


def _validated(sensor: Sensor) -> Callable[[Recording], Events]:
    """Decodes a recording and raises if it cannot be framed."""

    def decode(recording: Recording) -> Events:
        events: Events = recording.load()
        validate_events(events, sensor)
        return events

    return decode


def _simulate(folder: Path, **options: Any) -> Path:
    """Simulated gestures, by a module that is imported when it is needed."""
    from snntorch_brp.data.simulate import simulate_dvsgesture

    return simulate_dvsgesture(folder, **options)


STUDY = Protocol(conv=FrozenConv(channels=64, kernel=5, pool=4), epochs=15, steps=20, batch_size=20)
DVSGESTURE = event_task(
    EventSet(
        short_title="DvsGesture",
        title="DvsGesture, 11 gestures before an event camera, 32x32",
        find=find_dvsgesture,
        sensor=(128, 128),
        size=(32, 32),
        classes=GESTURES,
        pattern="ibmGestureT*/*/*.npy",
        whole={"train": 1077, "test": 264},
        network="Conv5x5x32-S2-FC1000-FC11",
        steps=60,
        epochs=15,
        label_only=STUDY,
        budgets={
            "quick": Override(network="Conv5x5x12-S2-FC300-FC11", batch_size=10, steps=20),
            "short": Override(batch_size=10, steps=20),
            "paper": Override(long_epochs=800),
        },
        simulation=Simulation(
            title="simulated gestures",
            make=_simulate,
            found_in=is_simulated,
            reader=partial(require, "tonic", install=EVENTS),
        ),
    ),
    steps=60,
)
NMNIST = event_task(
    EventSet(
        short_title="N-MNIST",
        title="N-MNIST, handwritten digits before a moving event camera, 34x34",
        find=find_nmnist,
        sensor=(34, 34),
        size=(34, 34),
        classes=tuple(f"digit {digit}" for digit in range(10)),
        pattern="T[re][as]*/*/*.bin",  # Train and Test
        whole={"train": 60000, "test": 10000},
        network="Conv5x5x28-S2-FC1000-FC10",
        steps=30,
        epochs=10,
        label_only=STUDY,
        budgets={
            "quick": Override(network="Conv5x5x12-S2-FC300-FC10", batch_size=20, steps=15),
            "short": Override(batch_size=20, steps=15),
            "paper": Override(long_epochs=800),
        },
        stands_in_for="dvsgesture",
    ),
    steps=30,
)
