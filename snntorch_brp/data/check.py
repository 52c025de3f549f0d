"""What is in the folder of a data set: how many samples of each class, what is missing or damaged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snntorch_brp.data.cifar import CIFAR10_CLASSES, cifar10_files
from snntorch_brp.data.event_files import LARGEST_SENSOR
from snntorch_brp.data.filterbank import FilterBank
from snntorch_brp.data.folders import find_event_folder, find_wav_folder
from snntorch_brp.data.framing import Sensor, validate_events
from snntorch_brp.data.images import load_mnist
from snntorch_brp.data.recordings import BadRecording, Recording, use

DIGITS = tuple("0123456789")
Progress = Callable[[Sequence[Recording]], Sequence[Recording]]


@dataclass
class Report:
    """What was found.

    Attributes:
        name: The data set.
        classes: Their names.
        counts: Good samples by split ("train", "test" or "") and class number.
        missing: What a whole data set would have besides.
        damaged: What is wrong, one line a file.
        notes: What else to know.
    """

    name: str
    classes: Sequence[str]
    counts: Counter[tuple[str, int]] = field(default_factory=Counter)
    missing: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def splits(self) -> list[str]:
        """Those that have samples; training first."""
        return sorted({split for split, _ in self.counts}, reverse=True)

    def total(self, split: str) -> int:
        """Good samples of one split."""
        return sum(count for (part, _), count in self.counts.items() if part == split)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A data set of recordings, and how all of it is checked.

    Attributes:
        name: For the report.
        find: Lists its recordings, and gives the names of the classes.
        decoded: Raises a ValueError on what was decoded but cannot be used.
        whole: Samples of each split in the owner's distribution.
        note: What else the report says.
        simulated: Whether the recordings in a folder are simulated: a whole data set is not expected then.
        partly: Whether a folder with too few of its files is reported with its layout, and not as an unknown one.
    """

    name: str
    find: Callable[[Path], tuple[Sequence[Recording], Sequence[str]]]
    decoded: Callable[[Any], None]
    whole: Mapping[str, int] = field(default_factory=dict)
    note: str = ""
    simulated: Callable[[Path], bool] = lambda root: False
    partly: bool = False

    def check(self, root: Path, progress: Progress) -> Report:
        """Read all recordings in a folder.

        Raises:
            FileNotFoundError: If there are none, unless ``partly``.
        """
        try:
            recordings, classes = self.find(root)
        except FileNotFoundError as error:
            if not self.partly:
                raise
            return Report(self.name, (), missing=[str(error)])
        simulated = self.simulated(root)
        report = Report(f"simulated recordings in the layout of {self.name}" if simulated else self.name, classes)
        for recording in progress(recordings):
            try:
                use(recording, lambda recording: self.decoded(recording.load()))
                report.counts[recording.split, recording.label] += 1
            except BadRecording as error:
                report.damaged.append(str(error))
        for split, count in {} if simulated else self.whole.items():
            there = report.total(split)
            if there < count:
                report.missing.append(f"{count - there} of the {count} {split} samples of the whole data set")
        report.notes += [self.note] if self.note else []
        return report


def events_on(sensor: Sensor) -> Callable[[Any], None]:
    """Checks that decoded events lie on a sensor of that width and height."""
    return lambda events: validate_events(events, sensor)


def audible(sound: Any) -> None:
    """Raise a ValueError unless the filter bank of a sound can be computed."""
    FilterBank()(*sound)


CLASS_FOLDERS = (
    ("*/*.[wW][aA][vV]", Corpus(name="sounds in class folders", find=find_wav_folder, decoded=audible)),
    (
        "*/*.*",  # no sensor is known: the largest that is read
        Corpus(
            name="event recordings in class folders",
            find=find_event_folder,
            decoded=events_on((LARGEST_SENSOR, LARGEST_SENSOR)),
        ),
    ),
)
"""The user's own recordings, with the pattern of their files: a folder for each class."""


def check_cifar10(root: Path, progress: Progress) -> Report:
    """Read all images of CIFAR-10."""
    report = Report("CIFAR-10", CIFAR10_CLASSES)
    for split in ("train", "test"):
        try:
            for path, read in cifar10_files(root, train=split == "train"):
                try:
                    report.counts.update((split, label) for label in read(path)[1].tolist())
                except ValueError as error:
                    report.damaged.append(str(error))
        except FileNotFoundError as error:
            report.missing.append(str(error).splitlines()[0])
    return report


def check_idx(root: Path, progress: Progress, *, name: str, title: str, classes: Sequence[str]) -> Report:
    """Read all images of a data set in MNIST's format.

    Args:
        root: The folder of its files.
        progress: Wraps the list of files.
        name: Of the task, for messages.
        title: For the report.
        classes: Names of the classes.
    """
    report = Report(title, classes)
    for split in ("train", "test"):
        try:
            labels = load_mnist(root, train=split == "train", name=name).tensors[1]
            report.counts.update((split, label) for label in labels.tolist())
        except FileNotFoundError as error:
            report.missing.append(str(error))
        except ValueError as error:
            report.damaged.append(str(error))
    return report
