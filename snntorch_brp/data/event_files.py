"""Event-camera recordings from files: the formats that tonic reads, and plain NumPy arrays."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from snntorch_brp.data.framing import Events
from snntorch_brp.data.optional import EVENTS, require
from snntorch_brp.data.recordings import BadRecording, one_sentence

LARGEST_SENSOR = 2048
"""Pixels on a side: more than any event camera has. A damaged coordinate must not make frames of gigabytes."""

EVENT = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", np.int8)])
"""One event: column, row, polarity 0 or 1, time (in the file's own unit: frames depend on ratios only)."""

Reader = Callable[[Any], Any]  # from a path (tonic wants a string) to what it holds


def read_npy(path: Path) -> Events:
    """A NumPy file: an array with the fields x, y, p, t, or one of shape (N, 4) with these columns.

    A polarity of -1 is read as 0.

    Raises:
        BadRecording: If it holds neither of the two, is damaged, or holds what no camera sends (:func:`as_events`).
    """
    array = _array(path)
    with one_sentence(path):
        return _columns_of(path, array)


def read_dvsgesture(path: Path) -> Events:
    """A recording of DvsGesture as tonic offers them: (N, 4) with the columns x, y, p and t in ms; times in µs."""
    events = read_npy(path)
    events["t"] *= 1000
    return events


def _array(path: Path) -> NDArray[Any]:
    """What a .npy file holds; nothing is unpickled, and nothing set aside that the file is too short for."""
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            read_header = (
                np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            )
            shape, fortran, dtype = read_header(file)
        except Exception as error:  # a damaged header fails in every way there is
            reason = (str(error).splitlines() or [""])[0]
            raise BadRecording(f"{path}: not a NumPy array, or a damaged one ({reason})") from error
        told, there = math.prod(shape) * dtype.itemsize, path.stat().st_size - file.tell()
        if dtype.hasobject or min(shape, default=0) < 0 or told != there:
            raise BadRecording(f"{path}: its header tells {shape} of {dtype}, {told} bytes; {there} follow: truncated?")
        with one_sentence(path):
            return np.frombuffer(file.read(), dtype).reshape(shape, order="F" if fortran else "C")


def _columns_of(path: Path, array: NDArray[Any]) -> Events:
    if array.dtype.names is None and array.ndim == 2 and array.shape[1] == 4:
        return as_events(*array.T)
    if array.dtype.names is not None and {"x", "y", "p", "t"} <= set(array.dtype.names):
        return as_events(*(array[name] for name in "xypt"))
    raise BadRecording(
        f"{path}: holds shape {array.shape} of {array.dtype}; expected (N, 4) with the columns x, y, p, t, "
        "or an array with these four fields"
    )


def read_bin(path: Path) -> Events:
    """The 40-bit format of N-MNIST and N-Caltech101; times in µs.

    An event is a byte of x, a byte of y, a bit of polarity and 23 of time. One with y = 240 is none: it says that the
    clock ran over, and adds 2^13 µs to all times behind it, as in ``tonic.io.read_mnist_file``.
    """
    size = path.stat().st_size
    if size == 0 or size % 5:
        raise BadRecording(f"{path}: {size} bytes; expected events of 5 bytes each: empty or truncated")
    x, y, high, middle, low = np.fromfile(path, np.uint8).reshape(-1, 5).astype(np.int64).T
    overflow = y == 240
    t = ((high & 127) << 16) + (middle << 8) + low + 2**13 * overflow.cumsum()
    with one_sentence(path):
        return as_events(*(column[~overflow] for column in (x, y, high >> 7, t)))


def read_aedat(path: Path) -> Events:
    """An AEDAT file; times in µs.

    Version 2 is taken for a DVS128's; of version 3 the polarity packets are read and the others passed over; version
    4 is decoded by tonic and needs the package ``aedat``. For another camera hand its reader to the data set, e.g.
    ``reader=tonic.io.read_davis_346``.
    """
    if path.suffix == ".aedat4":
        io = require("tonic.io", install=EVENTS)
        require("aedat", install="aedat")
        return _through(io.read_aedat4, path)
    with path.open("rb") as file:
        header = file.readline(256)
        if not header.startswith((b"#!AER-DAT2", b"#!AER-DAT3")):
            raise BadRecording(f"{path}: begins with {header[:12]!r}; expected #!AER-DAT2 or 3: not an AEDAT file")
        read = _dvs128 if header[9:10] == b"2" else _polarity_packets
        with one_sentence(path):
            return as_events(*read(_behind_comments(file)))


Columns = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]  # x, y, p, t


def _behind_comments(file: BinaryIO) -> bytes:
    """The rest of a file from the first line on that is no comment."""
    rest = file.read()
    while rest.startswith(b"#"):
        line, _, rest = rest.partition(b"\n")
        if line.startswith(b"#!END-HEADER"):
            break
    return rest


def _dvs128(body: bytes) -> Columns:
    """Version 2: address and time of each event, 4 bytes each, most significant first."""
    if len(body) % 8:
        raise BadRecording(f"{len(body)} bytes of events of 8 bytes each: truncated")
    address, t = np.frombuffer(body, ">u4").reshape(-1, 2).astype(np.int64).T
    return address >> 8 & 0x7F, address >> 1 & 0x7F, address & 1, t


def _polarity_packets(body: bytes) -> Columns:
    """Version 3: packets of one type each behind a head of 28 bytes, least significant byte first.

    The head tells type, source, size of an event, where its time is, how often the clock ran over, and how many events
    there are room for, are there, and are valid. An event of polarity (type 1) is 4 bytes of address, whose lowest bit
    says that it is valid, and 4 of time.
    """
    place, parts = 0, []
    while place < len(body):
        if len(body) - place < PACKET.size:
            raise BadRecording(f"truncated within the head of a packet at byte {place} behind the header")
        kind, _, size, _, overflow, room, count, _ = PACKET.unpack_from(body, place)
        place += PACKET.size
        if size < 0 or not 0 <= count <= room or room * size > len(body) - place:
            raise BadRecording(
                f"a packet of {count} events, {room} x {size} bytes, of which {len(body) - place} follow: truncated?"
            )
        if kind == POLARITY:
            if size != 8 or overflow < 0:
                raise BadRecording(f"a packet of polarity events of {size} bytes each; expected 8")
            address, t = np.frombuffer(body, "<u4", 2 * count, place).reshape(-1, 2).astype(np.int64).T
            parts.append(np.stack([address, t + (overflow << 31)])[:, address & 1 == 1])
        place += room * size
    address, t = np.concatenate(parts, axis=1) if parts else np.zeros((2, 0), np.int64)
    return address >> 17 & 0x7FFF, address >> 2 & 0x7FFF, address >> 1 & 1, t


PACKET = struct.Struct("<hhiiiiii")
POLARITY = 1


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

    Whole numbers of any type will do, floats included; polarities are 0 and 1, or -1 and 1.

    Raises:
        BadRecording: If a value is no whole number, a coordinate one that no camera has, or a polarity another.
    """
    events = np.empty(len(x), EVENT)
    for name, column in (("x", x), ("y", y)):
        events[name] = _whole(name, column, 0, LARGEST_SENSOR - 1)
    p = _whole("p", p, -1, 1)
    if (p < 0).any():
        if (p == 0).any():
            raise BadRecording("p holds -1, 0 and 1; expected polarities of 0 and 1, or of -1 and 1")
        p = (p > 0).astype(np.int8)
    events["p"], events["t"] = p, _whole("t", t, -(2**53), 2**53)
    return events


def _whole(name: str, column: NDArray[Any], low: int, high: int) -> NDArray[np.int64]:
    """A column of whole numbers from ``low`` to ``high``."""
    if column.ndim != 1 or column.dtype.kind not in "buif":
        raise BadRecording(f"{name} is of shape {column.shape} and {column.dtype}; expected one number an event")
    if column.dtype.kind == "f":
        if not np.isfinite(column).all():
            raise BadRecording(f"{name} is NaN or infinite at event {int(np.flatnonzero(~np.isfinite(column))[0])}")
        broken = np.flatnonzero(column != np.rint(column))
        if len(broken):
            hint = "; times must be whole ticks: if they are seconds, store np.rint(t * 1e6), µs" if name == "t" else ""
            raise BadRecording(f"{name} is {column[broken[0]]} at event {int(broken[0])}: no whole number{hint}")
    if len(column) and (column.min() < low or column.max() > high):
        raise BadRecording(f"{name} runs from {column.min()} to {column.max()}; expected {low} to {high}")
    return column.astype(np.int64)


def _through(reader: Reader, path: Path) -> Events:
    """What a reader of tonic's or the user's finds, in our own field types."""
    with one_sentence(path):
        found = reader(str(path))
        events = found[-1] if isinstance(found, tuple) else found
        return as_events(*(events[name] for name in "xypt"))
