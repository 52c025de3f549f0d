"""What is in a folder: which data set, how many samples of each class, what is missing or damaged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snntorch_brp.data.cifar import CIFAR10_CLASSES, cifar10_files
from snntorch_brp.data.event_files import LARGEST_SENSOR
from snntorch_brp.data.events import (
    GESTURES,
    find_dvsgesture,
    find_nmnist,
    is_simulated,
)
from snntorch_brp.data.filterbank import FilterBank
from snntorch_brp.data.folders import find_event_folder, find_wav_folder
from snntorch_brp.data.framing import validate_events
from snntorch_brp.data.images import load_mnist
from snntorch_brp.data.recordings import BadRecording, Recording, use
from snntorch_brp.data.speech import find_fsdd, find_tidigits

FSDD = "Free Spoken Digit Dataset"
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


@dataclass(frozen=True)
class _Corpus:
    """A data set of recordings that is known by its layout."""

    name: str
    pattern: str  # of the files that give it away, under the folder
    find: Callable[[Path], tuple[Sequence[Recording], Sequence[str]]]
    test: Callable[[Any], None]  # raises on what is decoded but cannot be used
    whole: dict[str, int] = field(default_factory=dict)  # samples of each split in the owner's distribution


def _events_on(*sensor: int) -> Callable[[Any], None]:
    width, height = sensor
    return lambda events: validate_events(events, (width, height))


def _heard(sound: Any) -> None:
    FilterBank()(*sound)


CORPORA = (
    _Corpus(
        "DvsGesture", "ibmGestureT*/*/*.npy", lambda root: (find_dvsgesture(root), GESTURES), _events_on(128, 128),
        {"train": 1077, "test": 264},
    ),
    _Corpus(
        "N-MNIST", "T*/*/*.bin", lambda root: (find_nmnist(root), DIGITS), _events_on(34, 34),
        {"train": 60000, "test": 10000},
    ),
    _Corpus(
        "TIDigits (isolated digits)", "t*/*/*/*.[wW][aA][vV]", lambda root: (find_tidigits(root), DIGITS), _heard
    ),
    _Corpus(
        FSDD, "recordings/*_*_*.[wW][aA][vV]", lambda root: (find_fsdd(root), DIGITS), _heard,
        {"train": 2700, "test": 300},
    ),
    _Corpus("sounds in class folders", "*/*.[wW][aA][vV]", find_wav_folder, _heard),
    # no sensor is known: the largest that is read
    _Corpus(
        "event recordings in class folders", "*/*.*", find_event_folder, _events_on(LARGEST_SENSOR, LARGEST_SENSOR)
    ),
)  # fmt: skip


def check(root: Path, *, progress: Progress = lambda recordings: recordings) -> Report:
    """Look through a folder and read everything in it.

    Args:
        root: The folder of a data set, or the one above it.
        progress: Wraps the list of recordings, e.g. tqdm.

    Returns:
        What is there.

    Raises:
        FileNotFoundError: If there is nothing that this package knows.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder")
    if _files(root, "*-idx?-ubyte*"):
        return _check_mnist(root)
    if _files(root, "data_batch_*") or _files(root, "test_batch*"):
        return _check_cifar10(root)
    for corpus in CORPORA:
        if _files(root, corpus.pattern):
            try:
                return _check_recordings(corpus, root, progress)
            except FileNotFoundError as error:
                if corpus.name == "DvsGesture":
                    return Report(corpus.name, GESTURES, missing=[str(error)])
    found = ", ".join(sorted(path.name for path in root.iterdir())[:6]) or "nothing"
    raise FileNotFoundError(
        f"no data set that this package knows under {root} (found: {found}); it knows MNIST and Fashion-MNIST (IDX), "
        f"CIFAR-10, {', '.join(corpus.name for corpus in CORPORA)}"
    )


def _files(root: Path, pattern: str) -> list[Path]:
    """What matches in a folder, or else in the folders directly below it."""
    return sorted(root.glob(pattern)) or sorted(root.glob(f"*/{pattern}"))


def _check_recordings(corpus: _Corpus, root: Path, progress: Progress) -> Report:
    recordings, classes = corpus.find(root)
    report = Report(corpus.name, classes)
    if corpus.name == "DvsGesture" and is_simulated(root):
        report = Report("simulated gestures in DvsGesture's layout", classes)
    for recording in progress(recordings):
        try:
            use(recording, lambda recording: corpus.test(recording.load()))
            report.counts[recording.split, recording.label] += 1
        except BadRecording as error:
            report.damaged.append(str(error))
    if report.name == corpus.name:
        for split, count in corpus.whole.items():
            there = report.total(split)
            if there < count:
                report.missing.append(f"{count - there} of the {count} {split} samples of the whole data set")
        if corpus.name == FSDD:
            report.notes.append(
                "train and test are the owner's split; `train fsdd` draws its own unless --split corpus"
            )
    return report


def _check_cifar10(root: Path) -> Report:
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


def _check_mnist(root: Path) -> Report:
    report = Report("MNIST or a set in its format (IDX)", DIGITS)
    folder = _files(root, "*-idx?-ubyte*")[0].parent
    for split in ("train", "test"):
        try:
            labels = load_mnist(folder, train=split == "train").tensors[1]
            report.counts.update((split, label) for label in labels.tolist())
        except FileNotFoundError as error:
            report.missing.append(str(error))
        except ValueError as error:
            report.damaged.append(str(error))
    return report
