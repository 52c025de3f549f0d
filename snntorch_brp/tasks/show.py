"""One sample of a task, drawn: the recording, and the spikes that the network gets of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from torch.utils.data import TensorDataset

from snntorch_brp.data.cifar import CIFAR10_CLASSES, load_cifar10
from snntorch_brp.data.draw import animation, filter_bank_and_spikes, frames_over_time, image_and_spikes
from snntorch_brp.data.events import (
    GESTURES,
    EventSpikes,
    Frames,
    find_dvsgesture,
    find_nmnist,
    is_simulated,
    load_frames,
)
from snntorch_brp.data.filterbank import FilterBank
from snntorch_brp.data.images import FASHION_CLASSES, load_digits, load_mnist
from snntorch_brp.data.recordings import use
from snntorch_brp.data.speech import SpeechSpikes, find_fsdd, find_tidigits
from snntorch_brp.encoding import rate_encode

Item = TypeVar("Item")

IMAGES: dict[str, Callable[[Path], TensorDataset]] = {
    "digits": lambda root: load_digits(train=False),
    "mnist": lambda root: load_mnist(root, train=False),
    "fashion-mnist": lambda root: load_mnist(root, train=False, name="fashion-mnist"),
    "cifar10": lambda root: load_cifar10(root, train=False),
}
"""The test images of each task of images."""

DIGITS = tuple(f"digit {digit}" for digit in range(10))
NAMES = {"cifar10": CIFAR10_CLASSES, "fashion-mnist": FASHION_CLASSES}


def draw_sample(
    task: str, root: Path | None, index: int, *, steps: int, out: Path, overwrite: bool = False
) -> list[Path]:
    """Draw one sample of a data set and write the pictures.

    Args:
        task: One of the tasks' names.
        root: Folder of the data set; digits needs none.
        index: Which of the samples, in the order of their files.
        steps: Time steps T.
        out: Folder to write to, made where it is not there.
        overwrite: Whether pictures that are there already may be replaced.

    Returns:
        The files written.

    Raises:
        ValueError: If there is no such sample or task, or fewer than one step.
        FileExistsError: If a picture is there already and must not be replaced.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; expected at least 1")
    there = sorted(path.name for path in out.glob(f"{task}-{index}[-.]*"))
    if there and not overwrite:
        raise FileExistsError(f"{out} holds {', '.join(there)} already: name another folder, or add --overwrite")
    if root is None:
        if task != "digits":
            raise ValueError(f"{task} needs the folder of its data")
        root = Path()
    if task in ("dvsgesture", "nmnist"):
        return _draw_events(task, root, index, steps, out)
    if task in ("tidigits", "fsdd"):
        recording = _pick(find_tidigits(root) if task == "tidigits" else find_fsdd(root), index)
        energies = use(recording, lambda recording: FilterBank()(*recording.load()))
        title = f"{task}: {recording.path.name}, digit {recording.label}"
        paths = []
        for layout in ("1d", "2d"):
            spikes = SpeechSpikes(layout, steps=steps, alpha=1.0)(energies[None])[:, 0]
            figure = filter_bank_and_spikes(energies, spikes, title=title)
            paths.append(_save(figure, out / f"{task}-{index}-{layout}.png"))
        return paths
    if task in IMAGES:
        images, labels = IMAGES[task](root).tensors
        place = _pick(range(len(images)), index)
        spikes = rate_encode(images[place], steps)
        title = f"{task}: test image {index}, {NAMES.get(task, DIGITS)[int(labels[place])]}"
        return [_save(image_and_spikes(images[place], spikes, title=title), out / f"{task}-{index}.png")]
    raise ValueError(f"there is nothing to draw for {task!r}")


def _draw_events(task: str, root: Path, index: int, steps: int, out: Path) -> list[Path]:
    if task == "dvsgesture":
        recording, sensor, size = _pick(find_dvsgesture(root), index), (128, 128), (32, 32)
        name = f"{GESTURES[recording.label]}{', simulated' if is_simulated(root) else ''}"
    else:
        recording, sensor, size = _pick(find_nmnist(root), index), (34, 34), (34, 34)
        name = f"digit {recording.label}"
    title = f"{task}: {recording.path.parent.name}/{recording.path.name}, {name}"
    paths = []
    for what, frame_size in {sensor: ("recorded", sensor), size: ("seen", size)}.values():
        _, packed, _ = load_frames([recording], Frames(steps, sensor, frame_size))
        spikes = EventSpikes(frame_size[0])(packed)[:, 0]
        paths.append(_save(frames_over_time(spikes, title=f"{title} ({what})"), out / f"{task}-{index}-{what}.png"))
    paths.append(out / f"{task}-{index}.gif")
    moving = animation(spikes, title=title)
    out.mkdir(parents=True, exist_ok=True)
    moving.save(paths[-1], writer="pillow")
    plt.close(moving._fig)
    return paths


def _pick(items: Sequence[Item], index: int) -> Item:
    if not 0 <= index < len(items):
        raise ValueError(f"there is no sample {index}: there are {len(items)}, counted from 0")
    return items[index]


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)
    return path
