"""Event-camera tasks: DvsGesture and N-MNIST."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

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
from snntorch_brp.data.recordings import Recording, read_all
from snntorch_brp.tasks.base import Option, Sets, Task
from snntorch_brp.tasks.recordings import Choices, options


@dataclass(frozen=True)
class EventSet:
    """An event-camera data set: how it is found, and the sizes of its sensor and of the frames."""

    title: str
    find: Callable[[Path], Sequence[Recording]]
    sensor: Sensor
    size: Sensor
    num_classes: int
    network: str
    steps: int
    epochs: int


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
    """The task of an event-camera data set, with its options; ``choices`` are those of :class:`Choices`."""
    chosen = Choices(**choices)
    if frames is not None and not (frames.isascii() and frames.isdecimal() and len(frames) < 10):
        raise ValueError(f"--frames must be a whole number, got {frames!r}")
    merged, count = polarities == "merged", int(frames or steps)
    if count < steps:
        raise ValueError(f"--frames {count} is less than --steps {steps}: there is nothing to draw from")
    if count > steps and events == "raw":
        raise ValueError("--frames draws from frames made beforehand: it does not go with --events raw")
    framing = Frames(count, source.sensor, source.size, merge_polarities=merged)

    def load(root: Path | None) -> Sets:
        assert root is not None
        found = source.find(root)
        if events == "raw":
            good, recordings, _ = read_all(found, _validated(source.sensor), on_bad=chosen.on_bad)
            resident = ResidentEvents(recordings, framing, device=device)
            sets = chosen.part(good, torch.arange(len(good)))._replace(encoder=resident)
        else:
            good, packed, _ = load_frames(found, framing, cache=chosen.store, on_bad=chosen.on_bad)
            sets = chosen.part(good, packed)
        return sets._replace(split=f"simulated gestures, {sets.split}") if is_simulated(root) else sets

    return Task(
        title=source.title,
        load=load,
        input_shape=(1 if merged else 2, source.size[1], source.size[0]),
        num_classes=source.num_classes,
        network=source.network,
        steps=source.steps,
        epochs=source.epochs,
        encoder=lambda steps, alpha: EventSpikes(source.size[0], None if count == steps else steps),
        rate_coded=False,
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


DVSGESTURE = event_task(
    EventSet(
        title="DvsGesture, 11 gestures before an event camera, 32x32",
        find=find_dvsgesture,
        sensor=(128, 128),
        size=(32, 32),
        num_classes=len(GESTURES),
        network="Conv5x5x32-S2-FC1000-FC11",
        steps=60,
        epochs=15,
    ),
    steps=60,
)
NMNIST = event_task(
    EventSet(
        title="N-MNIST, handwritten digits before a moving event camera, 34x34",
        find=find_nmnist,
        sensor=(34, 34),
        size=(34, 34),
        num_classes=10,
        network="Conv5x5x28-S2-FC1000-FC10",
        steps=30,
        epochs=10,
    ),
    steps=30,
)
