"""One sample, drawn: what was recorded, and the spikes that the network gets of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from torch.utils.data import TensorDataset

from snntorch_brp.data.draw import animation, filter_bank_and_spikes, frames_over_time, image_and_spikes
from snntorch_brp.data.events import EventSpikes, Frames, load_frames
from snntorch_brp.data.filterbank import FilterBank
from snntorch_brp.data.framing import Sensor
from snntorch_brp.data.recordings import Recording, use
from snntorch_brp.data.speech import SpeechSpikes
from snntorch_brp.encoding import rate_encode

Item = TypeVar("Item")
Pictures = list[tuple[str, Any]]


def image_pictures(
    root: Path | None, index: int, steps: int, *, title: str, load: Callable[[Path | None], TensorDataset],
    classes: Sequence[str],
) -> Pictures:  # fmt: skip
    """A test image and its rate-coded spikes.

    Args:
        root: Folder of the data set.
        index: Number of the test image.
        steps: Time steps T.
        title: Name of the data set.
        load: Reads the test images.
        classes: Names of the classes.
    """
    images, labels = load(root).tensors
    place = pick(range(len(images)), index)
    text = f"{title}: test image {index}, {classes[int(labels[place])]}"
    return [(".png", image_and_spikes(images[place], rate_encode(images[place], steps), title=text))]


def speech_pictures(
    root: Path | None, index: int, steps: int, *, title: str, find: Callable[[Path], Sequence[Recording]]
) -> Pictures:
    """A spoken digit's filter bank, beside its spikes in both layouts; ``find`` lists the recordings."""
    assert root is not None
    recording = pick(find(root), index)
    energies = use(recording, lambda recording: FilterBank()(*recording.load()))
    text = f"{title}: {recording.path.name}, digit {recording.label}"
    pictures: Pictures = []
    for layout in ("1d", "2d"):
        spikes = SpeechSpikes(layout, steps=steps, alpha=1.0)(energies[None])[:, 0]
        pictures.append((f"-{layout}.png", filter_bank_and_spikes(energies, spikes, title=text)))
    return pictures


def event_pictures(
    root: Path | None, index: int, steps: int, *, title: str, find: Callable[[Path], Sequence[Recording]],
    classes: Sequence[str], sensor: Sensor, size: Sensor, note: Callable[[Path], str],
) -> Pictures:  # fmt: skip
    """An event recording on its sensor, the frames that the network gets, and these as an animation.

    Args:
        root: Folder of the data set.
        index: Number of the recording.
        steps: Time steps T.
        title: Name of the data set.
        find: Lists the recordings.
        classes: Names of the classes.
        sensor: Width and height of the sensor.
        size: Width and height of the network's frames.
        note: What to say of the recordings in a folder, such as ", simulated".
    """
    assert root is not None
    recording = pick(find(root), index)
    text = f"{title}: {recording.path.parent.name}/{recording.path.name}, {classes[recording.label]}{note(root)}"
    shown = [("seen", size)] if sensor == size else [("recorded", sensor), ("seen", size)]
    pictures: Pictures = []
    for what, frame_size in shown:
        _, packed, _ = load_frames([recording], Frames(steps, sensor, frame_size))
        spikes = EventSpikes(frame_size[0])(packed)[:, 0]
        pictures.append((f"-{what}.png", frames_over_time(spikes, title=f"{text} ({what})")))
    return [*pictures, (".gif", animation(spikes, title=text))]


def pick(items: Sequence[Item], index: int) -> Item:
    """One of several samples, or a ValueError that says how many there are."""
    if not 0 <= index < len(items):
        raise ValueError(f"there is no sample {index}: there are {len(items)}, counted from 0")
    return items[index]
