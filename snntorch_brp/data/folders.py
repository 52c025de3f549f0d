"""Your own recordings: a folder with one folder a class becomes a data set with one call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from snntorch_brp.data.audio import read_audio
from snntorch_brp.data.cache import Cache
from snntorch_brp.data.event_files import READERS, Reader, with_reader
from snntorch_brp.data.events import Frames, load_frames
from snntorch_brp.data.filterbank import FilterBank
from snntorch_brp.data.framing import Sensor
from snntorch_brp.data.recordings import BadRecording, OnBad, Recording, read_all
from snntorch_brp.data.speech import load_energies

EVENT_LAYOUT = """\
A folder of event recordings holds one folder a class:
  DIR/{class name}/{any name}.npy|.bin|.aedat|.aedat4"""
WAV_LAYOUT = """\
A folder of sounds holds one folder a class:
  DIR/{class name}/{any name}.wav"""


def event_folder(
    root: str | Path,
    steps: int,
    *,
    sensor: Sensor | None = None,
    size: Sensor | None = None,
    merge_polarities: bool = False,
    reader: Reader | None = None,
    cache: Cache | None = None,
    on_bad: OnBad = "error",
) -> tuple[TensorDataset, list[str]]:
    """Event recordings as packed frames; :class:`~.events.EventSpikes` makes spikes of a batch of them.

    Args:
        root: Folder of class folders of ``.npy``, ``.bin``, ``.aedat`` or ``.aedat4`` files.
        steps: Number of frames that a recording is cut into.
        sensor: Width and height of the camera; the smallest that holds all events where None.
        size: Width and height of the frames; the sensor's own where None.
        merge_polarities: One channel of all events instead of one for each polarity.
        reader: Decodes a file, any of ``tonic.io``'s readers or your own function from a path to a structured array
            with the fields x, y, p, t. By default the file's suffix decides (:data:`~.event_files.READERS`).
        cache: Where frames are kept from one run to the next.
        on_bad: Whether a bad recording is an error or skipped.

    Returns:
        Frames ``[N, T, C, height, ceil(width / 8)]`` and labels ``[N]``, and the names of the classes.

    Raises:
        FileNotFoundError: If there are no recordings.
        BadRecording: If one is bad and ``on_bad`` is "error", or all are.

    Example:
        >>> dataset, classes = event_folder("recordings", steps=60, size=(32, 32))  # doctest: +SKIP
        >>> trainer = BRPTrainer(net, num_classes=len(classes), encoder=EventSpikes(width=32))  # doctest: +SKIP
    """
    found, classes = find_event_folder(Path(root), reader=reader)
    sensor = sensor or sensor_of(found)
    frames = Frames(steps, sensor, size or sensor, merge_polarities=merge_polarities)
    good, packed, _ = load_frames(found, frames, cache=cache, on_bad=on_bad)
    return TensorDataset(packed, _labels(good)), classes


def sound_folder(
    root: str | Path,
    *,
    bank: FilterBank | None = None,
    rate: int | None = None,
    device: torch.device | str = "cpu",
    cache: Cache | None = None,
    on_bad: OnBad = "error",
) -> tuple[TensorDataset, list[str]]:
    """Sounds as filter bank energies; :class:`~.speech.SpeechSpikes` makes spikes of a batch of them.

    Args:
        root: Folder of class folders of wav files.
        bank: How the energies are computed; 30 bands by 30 frames where None.
        rate: Sampling rate in Hz that all must have; that of the first readable file where None.
        device: Where the energies are computed.
        cache: Where they are kept from one run to the next.
        on_bad: Whether a bad recording is an error or skipped.

    Returns:
        Energies ``[N, frames, bands]`` and labels ``[N]``, and the names of the classes.

    Raises:
        FileNotFoundError: If there are no sounds.
        BadRecording: If one is bad and ``on_bad`` is "error", or all are.

    Example:
        >>> dataset, classes = sound_folder("sounds")  # doctest: +SKIP
    """
    found, classes = find_wav_folder(Path(root), rate=rate)
    good, energies, _ = load_energies(found, bank or FilterBank(), device=device, cache=cache, on_bad=on_bad)
    return TensorDataset(energies, _labels(good)), classes


def _labels(recordings: Sequence[Recording]) -> Tensor:
    return torch.tensor([recording.label for recording in recordings])


def find_event_folder(root: Path, *, reader: Reader | None = None) -> tuple[list[Recording], list[str]]:
    """The event recordings in a folder of class folders.

    Returns:
        The recordings, sorted, and the names of the classes.

    Raises:
        FileNotFoundError: If there are none.
    """
    classes = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    found = []
    for label, name in enumerate(classes):
        for path in sorted(p for p in (root / name).rglob("*") if p.is_file()):
            chosen = with_reader(reader) if reader else READERS.get(path.suffix.lower())
            if chosen is not None:
                found.append(Recording(path, label, partial(chosen, path)))
    if not found:
        raise FileNotFoundError(f"no event recordings under {root}.\n{EVENT_LAYOUT}")
    return found, classes


def sensor_of(recordings: Sequence[Recording]) -> Sensor:
    """The smallest sensor that all readable recordings fit on: largest x and y, plus one."""
    _, corners, _ = read_all(recordings, _corner, on_bad="skip")
    width, height = np.max(corners, axis=0)
    return int(width), int(height)


def _corner(recording: Recording) -> Sensor:
    events = recording.load()
    if len(events) == 0:
        raise BadRecording(f"{recording.path}: holds no events")
    return int(events["x"].max()) + 1, int(events["y"].max()) + 1


def find_wav_folder(root: Path, *, rate: int | None = None) -> tuple[list[Recording], list[str]]:
    """The wav files in a folder of class folders.

    Returns:
        The recordings, sorted, and the names of the classes.

    Raises:
        FileNotFoundError: If there are none.
    """
    paths = sorted(p for p in root.glob("*/*") if p.suffix.lower() == ".wav")
    classes = sorted({path.parent.name for path in paths})
    if not paths:
        raise FileNotFoundError(f"no wav files in folders under {root}.\n{WAV_LAYOUT}")
    load = partial(read_audio, rate=rate or _rate_of(paths))
    return [Recording(path, classes.index(path.parent.name), partial(load, path)) for path in paths], classes


def _rate_of(paths: Sequence[Path]) -> int | None:
    """Sampling rate of the first readable file."""
    for path in paths:
        try:
            return read_audio(path)[1]
        except (BadRecording, OSError):
            continue
    return None
