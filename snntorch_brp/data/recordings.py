"""A data set as a list of recordings, of which some may be damaged.

A corpus is found first (which files there are, what each is a recording of) and read afterwards; both
can meet something bad, and the user says once whether that ends the run or is counted, logged and left out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

logger = logging.getLogger(__name__)

OnBad = Literal["error", "skip"]
R = TypeVar("R")


class BadRecording(ValueError):
    """A recording that cannot be used: truncated, empty, silent, out of range, of the wrong kind."""


@dataclass(frozen=True)
class Recording:
    """One recording of a corpus: where it lies, what it shows, how it is decoded.

    Attributes:
        path: The file.
        label: Its class, 0..K-1.
        load: Decodes the file; whatever it raises is told as :class:`BadRecording`.
        split: The part of the corpus it belongs to by its owner's choice ("train", "test" or "").
        speaker: Who is heard or seen ("" where unknown).
        problem: Why it cannot be used, where that shows before it is read (a folder that is no class).
    """

    path: Path
    label: int
    load: Callable[[], Any]
    split: str = ""
    speaker: str = ""
    problem: str = ""

    @property
    def decoder(self) -> str:
        """The name of what decodes it; together with the file's content it tells what is decoded."""
        return _name(self.load)


def _name(function: object) -> str:
    if isinstance(function, partial):
        return " ".join(filter(None, map(_name, (function.func, *function.args))))
    return f"{function.__module__}.{function.__qualname__}" if hasattr(function, "__qualname__") else ""


def use(recording: Recording, decode: Callable[[Recording], R]) -> R:
    """Apply ``decode`` to one recording; whatever is wrong with it becomes one :class:`BadRecording` with its path."""
    if recording.problem:
        raise BadRecording(f"{recording.path}: {recording.problem}")
    with one_sentence(recording.path):
        return decode(recording)


@contextmanager
def one_sentence(path: Path) -> Iterator[None]:
    """Turn whatever a library throws at a damaged file into one :class:`BadRecording` that names the file.

    A missing package and a full device are no fault of the file: they pass.
    """
    try:
        yield
    except (ImportError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        message = (str(error).splitlines() or [""])[0]
        if not isinstance(error, (ValueError, OSError)) or not message:
            message = f"could not be decoded: {type(error).__name__}: {message}"
        prefix = "" if str(path) in message else f"{path}: "
        raise BadRecording(prefix + message) from error


def read_all(
    recordings: Sequence[Recording], decode: Callable[[Recording], R], *, on_bad: OnBad = "error"
) -> tuple[list[Recording], list[R], list[BadRecording]]:
    """Decode every recording.

    Args:
        recordings: What was found.
        decode: Turns one of them into what is kept of it.
        on_bad: "error" raises at the first bad recording, "skip" leaves it out and logs how many there were.

    Returns:
        The good recordings, what ``decode`` made of each, and one error for each recording left out.

    Raises:
        BadRecording: If a recording is bad and ``on_bad`` is "error", or not one was good.
    """
    if on_bad not in ("error", "skip"):
        raise ValueError(f'on_bad is {on_bad!r}; expected "error" or "skip"')
    good: list[Recording] = []
    decoded: list[R] = []
    bad: list[BadRecording] = []
    for recording in recordings:
        try:
            decoded.append(use(recording, decode))
            good.append(recording)
        except BadRecording as error:
            if on_bad == "error":
                raise
            bad.append(error)
    if bad:
        logger.warning("skipped %d of %d recordings; the first: %s", len(bad), len(recordings), bad[0])
    if not good:
        raise bad[0] if bad else BadRecording("no recordings to read")
    return good, decoded, bad
