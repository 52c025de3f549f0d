"""Event-camera data sets: DvsGesture, N-MNIST and folders of one's own recordings, as spikes.

Natural spikes are used as they are: an input neuron fires in a step if its pixel had an event in that
slice of the recording, as in the paper. Frames are made once, one bit a pixel, kept in memory (and on disk,
see :mod:`~snntorch_brp.data.cache`), and turned into spikes where the network is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snntorch_brp.data.cache import Cache
from snntorch_brp.data.event_files import read_bin, read_dvsgesture
from snntorch_brp.data.framing import Events, Sensor, frame_events
from snntorch_brp.data.optional import EVENTS, require
from snntorch_brp.data.recordings import BadRecording, OnBad, Recording, read_all

GESTURES = (
    "hand clapping", "right hand wave", "left hand wave", "right arm clockwise", "right arm counter-clockwise",
    "left arm clockwise", "left arm counter-clockwise", "arm roll", "air drums", "air guitar", "other gestures",
)  # fmt: skip
SIMULATED = "SIMULATED.txt"  # the file that tells simulated gestures from real ones

DVSGESTURE_LAYOUT = """\
DvsGesture is offered by IBM at https://research.ibm.com/dvsgesture/, cut into gestures as tonic reads it at
https://figshare.com/articles/dataset/_/20103755 (the two archives; unpack them beside each other):
  DIR/DVSGesture/ibmGestureTrain.tar.gz, ibmGestureTest.tar.gz     (the archives, or empty files of this name)
  DIR/DVSGesture/ibmGestureTrain/user01_fluorescent/0.npy ...
  DIR/DVSGesture/ibmGestureTest/user24_fluorescent/0.npy ...
To try without it: snntorch-brp data simulate dvsgesture DIR"""
NMNIST_LAYOUT = """\
N-MNIST is offered by its author at https://www.garrickorchard.com/datasets/n-mnist; unpack both archives:
  DIR/NMNIST/Train/0/00002.bin ... DIR/NMNIST/Test/9/..."""


@dataclass(frozen=True)
class Frames:
    """How recordings become frames; the settings that a cached array depends on.

    Attributes:
        steps: Number of frames that a recording is cut into.
        sensor: Width and height of the sensor.
        size: Width and height of the frames.
        merge_polarities: One channel of all events instead of one for each polarity.
    """

    steps: int
    sensor: Sensor
    size: Sensor
    merge_polarities: bool = field(default=False, kw_only=True)

    def __call__(self, events: Events) -> NDArray[np.uint8]:
        """One recording's spikes, one bit a pixel: [T, C, height, ceil(width / 8)] uint8."""
        return np.packbits(frame_events(events, **asdict(self), binary=True), axis=-1)


@dataclass(frozen=True)
class EventSpikes:
    """Encoder: packed frames of a batch to spikes, time first, on the batch's device.

    Attributes:
        width: Of a frame, in pixels.
        steps: With a number here, each call draws that many of the frames, in order of time and without
            repetition, afresh for every recording: the paper's random sampling. All frames otherwise.
        generator: Of that draw, on the batch's device.

    Example:
        >>> EventSpikes(width=32)(torch.zeros(5, 60, 2, 32, 4, dtype=torch.uint8)).shape
        torch.Size([60, 5, 2, 32, 32])
    """

    width: int
    steps: int | None = None
    generator: torch.Generator | None = field(default=None, kw_only=True)

    def __call__(self, packed: Tensor) -> Tensor:
        """[B, F, C, height, ceil(width / 8)] uint8 to [T, B, C, height, width] of 0.0 and 1.0."""
        if self.steps is not None:
            packed = draw_frames(packed, self.steps, generator=self.generator)
        shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=packed.device)
        bits = (packed.unsqueeze(-1) >> shifts) & 1
        return bits.flatten(-2)[..., : self.width].transpose(0, 1).float()


def draw_frames(frames: Tensor, steps: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Draw ``steps`` of each recording's frames, in order of time: [B, F, ...] to [B, steps, ...].

    Args:
        frames: Of a batch, ``[B, F, ...]``.
        steps: How many to draw of each recording, without repetition.
        generator: Source of the draw, on the device of ``frames``.

    Raises:
        ValueError: If there are fewer frames than that.
    """
    if not 0 < steps <= frames.shape[1]:
        raise ValueError(f"cannot draw {steps} of {frames.shape[1]} frames: frame the recordings more finely")
    keys = torch.rand(frames.shape[:2], device=frames.device, generator=generator)
    chosen = keys.argsort(1)[:, :steps].sort(1).values
    return frames[torch.arange(len(frames), device=frames.device)[:, None], chosen]


def load_frames(
    recordings: Sequence[Recording],
    frames: Frames,
    *,
    cache: Cache | None = None,
    on_bad: OnBad = "error",
    progress: Callable[[Sequence[Recording]], Sequence[Recording]] = lambda recordings: recordings,
) -> tuple[list[Recording], Tensor, list[BadRecording]]:
    """Frame every recording.

    Args:
        recordings: From one of the ``find_`` functions.
        frames: How.
        cache: Where framed recordings are kept from one run to the next.
        on_bad: Whether a bad recording is an error or skipped.
        progress: Wraps the list of recordings, e.g. tqdm.

    Returns:
        The recordings used, their packed frames [N, T, C, height, ceil(width / 8)], and what was wrong with
        the others.

    Raises:
        BadRecording: See :func:`~.recordings.read_all`.
    """

    def decode(recording: Recording) -> NDArray[Any]:
        if cache is None:
            return frames(recording.load())
        settings = {"decoder": recording.decoder, **asdict(frames)}
        return cache.get(recording.path, settings, lambda: frames(recording.load()))

    good, arrays, bad = read_all(progress(recordings), decode, on_bad=on_bad)
    return good, torch.from_numpy(np.stack(arrays)), bad


def find_nmnist(root: Path) -> list[Recording]:
    """The recordings of N-MNIST (34 x 34) under ``root`` or ``root/NMNIST``; a part of them will do.

    Raises:
        FileNotFoundError: If there are none.
    """
    root = inside(root, "NMNIST")
    found = []
    for split in ("Train", "Test"):
        for path in sorted((root / split).glob("*/*.bin")):
            name = path.parent.name
            label, problem = (int(name), "") if name in set("0123456789") else (-1, f"{name!r} is no digit")
            found.append(Recording(path, label, partial(read_bin, path), split.lower(), problem=problem))
    if not found:
        raise FileNotFoundError(f"no N-MNIST recordings under {root}.\n{NMNIST_LAYOUT}")
    return found


def find_dvsgesture(root: Path) -> list[Recording]:
    """The recordings of DvsGesture (128 x 128) under ``root`` or ``root/DVSGesture``, as tonic finds them.

    Times are in µs. The speaker of a recording is its user.

    Raises:
        FileNotFoundError: If it is not laid out as tonic wants it (which would start to download it).
    """
    root = inside(root, "DVSGesture")
    found = []
    for split in ("Train", "Test"):
        folder = root / f"ibmGesture{split}"
        archive, count = folder.with_suffix(".tar.gz"), sum(1 for _ in folder.glob("*/*.npy"))
        if count < 100 or not archive.is_file() or root.name != "DVSGesture":
            raise FileNotFoundError(
                f"{folder} holds {count} recordings (at least 100 wanted), and {archive.name} is "
                f"{'there' if archive.is_file() else 'missing'}.\n{DVSGESTURE_LAYOUT}"
            )
        found += _dvsgesture_split(root, split)
    return found


def _dvsgesture_split(root: Path, split: str) -> list[Recording]:
    """One half of DvsGesture through ``tonic.datasets.DVSGesture``, sorted: tonic keeps the disk's order."""
    require("numpy.lib.recfunctions", install="numpy")  # tonic uses it without importing it
    folder = root / f"ibmGesture{split}"
    for path in (path for path in folder.rglob("*") if path.is_dir() or path.suffix == ".npy"):
        if not re.fullmatch(r"user\d+_[^/]*(/\d+\.npy)?", path.relative_to(folder).as_posix()):
            raise BadRecording(f"{path} is not named userNN_lighting/label.npy, as tonic wants it: move it elsewhere")
    data = require("tonic.datasets", install=EVENTS).DVSGesture(str(root.parent), train=split == "Train")
    found = []
    for i in sorted(range(len(data)), key=lambda i: str(data.data[i])):
        label = data.targets[i]
        problem = "" if 0 <= label < len(GESTURES) else f"{label} is no gesture: expected 0..{len(GESTURES) - 1}"
        path = Path(data.data[i])
        load = partial(read_dvsgesture, path)
        found.append(Recording(path, label, load, split.lower(), f"user{data.users[i]:02d}", problem))
    return found


def inside(root: Path, name: str) -> Path:
    """``root/name`` if that is a folder, else ``root`` itself: a user may point at either."""
    return root / name if (root / name).is_dir() else root


def is_simulated(root: Path) -> bool:
    """Whether the gestures under ``root`` were written by :mod:`~snntorch_brp.data.simulate`."""
    return (inside(root, "DVSGesture") / SIMULATED).is_file()
