"""Event-camera recordings from files: the formats that tonic reads, and plain NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snntorch_brp.data.framing import Events
from snntorch_brp.data.optional import EVENTS, require
from snntorch_brp.data.recordings import BadRecording

EVENT = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", np.int8)])
"""One event: column, row, polarity 0 or 1, time (in the file's own unit: frames depend on ratios only)."""

Reader = Callable[[Any], Any]  # from a path (tonic wants a string) to what it holds


def read_npy(path: Path) -> Events:
    """A NumPy file: an array with the fields x, y, p, t, or one of shape (N, 4) with these columns.

    A polarity of -1 is read as 0.

    Raises:
        BadRecording: If it holds neither of the two, or is damaged.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise BadRecording(f"{path}: not a NumPy array, or a truncated one ({error})") from error
    if array.dtype.names is None and array.ndim == 2 and array.shape[1] == 4:
        return as_events(*array.T)
    if array.dtype.names is not None and {"x", "y", "p", "t"} <= set(array.dtype.names):
        return as_events(*(array[name] for name in "xypt"))
    raise BadRecording(
        f"{path}: holds shape {array.shape} of {array.dtype}; expected (N, 4) with the columns x, y, p, t, "
        "or an array with these four fields"
    )


def read_bin(path: Path) -> Events:
    """The 40-bit format of N-MNIST and N-Caltech101, through ``tonic.io.read_mnist_file``; times in µs."""
    size = path.stat().st_size
    if size == 0 or size % 5:
        raise BadRecording(f"{path}: {size} bytes; expected events of 5 bytes each: empty or truncated")
    return _normal(require("tonic.io", install=EVENTS).read_mnist_file(str(path), dtype=EVENT))


def read_aedat(path: Path) -> Events:
    """An AEDAT file, decoded by tonic; times in µs.

    Version 2 is taken for a DVS128's, version 3 for one of DvsGesture's original recordings, version 4 says itself
    what it is and needs the package ``aedat``. For another camera hand its reader to the data set, e.g.
    ``reader=tonic.io.read_davis_346``.
    """
    io = require("tonic.io", install=EVENTS)
    if path.suffix == ".aedat4":
        require("aedat", install="aedat")
        return _through(io.read_aedat4, path)
    with path.open("rb") as file:
        header = file.readline()
    if not header.startswith(b"#!AER-DAT"):
        raise BadRecording(f"{path}: begins with {header[:12]!r}; expected #!AER-DAT: not an AEDAT file")
    return _through(_dvs128 if header[9:10] == b"2" else _dvs_ibm, path)


# tonic.io.read_dvs_128 and read_dvs_ibm of tonic 1.7.0 fail on every file: they unpack two of three values.
def _dvs128(path: str) -> Events:
    address, t = _addresses(path)
    return as_events(address >> 8 & 0x7F, address >> 1 & 0x7F, address & 1, t)


def _dvs_ibm(path: str) -> Events:
    address, t = _addresses(path)
    return as_events(address >> 17 & 0x1FFF, address >> 2 & 0x1FFF, address >> 1 & 1, t)


def _addresses(path: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Address and time of each event of an AEDAT file, version 2 or 3."""
    io = require("tonic.io", install=EVENTS)
    version, start, *_ = io.read_aedat_header_from_file(path)
    events = io.get_aer_events_from_file(path, version, start)
    return events["address"].astype(np.int64), events["timeStamp"].astype(np.int64)


READERS: dict[str, Reader] = {
    ".npy": read_npy,
    ".bin": read_bin,
    ".aedat": read_aedat,
    ".aedat4": read_aedat,
}
"""How a recording is read, by the suffix of its file."""


def with_reader(reader: Reader) -> Callable[[Path], Events]:
    """Make any of tonic's readers return events in our layout (most return the sensor's shape as well)."""
    return partial(_through, reader)


def as_events(x: NDArray[Any], y: NDArray[Any], p: NDArray[Any], t: NDArray[Any]) -> Events:
    """Four columns as one structured array.

    Raises:
        BadRecording: If a coordinate is one that no camera has.
    """
    for name, column in (("x", x), ("y", y)):
        if len(column) and (column.min() < -(2**15) or column.max() >= 2**15):
            raise BadRecording(f"{name} runs from {column.min()} to {column.max()}: no sensor is as large")
    events = np.empty(len(x), EVENT)
    events["x"], events["y"], events["t"] = x, y, t
    # bool and unsigned columns cannot be negative; a polarity of -1 is the other way to write 0
    events["p"] = np.where(p == -1, 0, p) if np.issubdtype(p.dtype, np.signedinteger) else p
    return events


def _through(reader: Reader, path: Path) -> Events:
    """What one of tonic's readers finds, or a :class:`BadRecording`: they fail in many ways on a damaged file."""
    try:
        found = reader(str(path))
    except ImportError:
        raise
    except Exception as error:
        raise BadRecording(f"{path}: could not be decoded: {type(error).__name__}: {error}") from error
    return _normal(found[-1] if isinstance(found, tuple) else found)


def _normal(events: NDArray[Any]) -> Events:
    """A structured array in our own field types."""
    return events if events.dtype == EVENT else as_events(*(events[name] for name in "xypt"))
