"""Damaged files of every kind: what was recorded, or an error that names the file; nothing else.

A reader of a damaged file may raise ``ValueError`` or ``OSError`` with the file's name, or return a value; where the
format has a checksum of its content, only the original value. Memory stays within bounds.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import random
import resource
import shutil
import struct
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from mutate import Tell, mutated

from snntorch_brp.data.archive import unpack
from snntorch_brp.data.audio import read_audio
from snntorch_brp.data.cache import Cache
from snntorch_brp.data.cifar import read_binary, read_python
from snntorch_brp.data.event_files import READERS, read_dvsgesture
from snntorch_brp.data.images import read_idx

MOST = 1 << 19  # KiB that the process may grow by: the files are of a few KiB


class Kind(NamedTuple):
    """A kind of file: its name, a good one, how it is read into something comparable, whether it has a checksum."""

    name: str
    content: bytes
    read: Callable[[Path], Any]
    checksum: bool = False


RNG = np.random.default_rng(0)
EVENTS = np.stack([*RNG.integers(0, [[34], [34], [2]], (3, 200)), np.arange(200) * 7])  # x, y, p, t


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def fields() -> np.ndarray:
    events = np.zeros(200, [("x", "i2"), ("y", "i2"), ("p", "i1"), ("t", "i8")])
    for name, column in zip("xypt", EVENTS, strict=True):
        events[name] = column
    return events


def nmnist() -> bytes:
    x, y, p, t = EVENTS
    return np.stack([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255], 1).astype(np.uint8).tobytes()


def aedat2() -> bytes:
    x, y, p, t = EVENTS
    return b"#!AER-DAT2.0\r\n# made by a test\r\n" + np.stack([x << 8 | y << 1 | p, t], 1).astype(">u4").tobytes()


def aedat3() -> bytes:
    x, y, p, t = EVENTS
    body = np.stack([x << 17 | y << 2 | p << 1 | 1, t], 1).astype("<u4").tobytes()
    head = partial(struct.pack, "<hhiiiiii")
    other = head(3, 1, 36, 4, 0, 1, 1, 1) + bytes(36)
    return b"#!AER-DAT3.1\r\n#!END-HEADER\r\n" + head(1, 1, 8, 4, 0, 200, 200, 200) + body + other


def idx() -> bytes:
    return b"\0\0\x08\x03" + struct.pack(">III", 5, 28, 28) + RNG.bytes(5 * 784)


def cifar(protocol: int | None) -> bytes:
    pixels = RNG.integers(0, 256, (3, 3072), np.uint8)
    if protocol is None:
        return b"".join(bytes([label]) + row.tobytes() for label, row in enumerate(pixels))
    return pickle.dumps({b"data": pixels, b"labels": [3, 0, 9], b"filenames": [b"a.png"]}, protocol=protocol)


def sphere() -> bytes:
    fields = b"sample_count -i 2000\nsample_rate -i 8000\nchannel_count -i 1\nsample_n_bytes -i 2\n"
    header = b"NIST_1A\n   1024\n" + fields + b"sample_byte_format -s2 01\nsample_coding -s3 pcm\nend_head\n"
    return header.ljust(1024) + RNG.integers(-9999, 9999, 2000).astype("<i2").tobytes()


def sound(form: str, subtype: str) -> bytes:
    soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed")
    buffer = io.BytesIO()
    soundfile.write(buffer, RNG.normal(0, 0.1, 2000), 8000, format=form, subtype=subtype)
    return buffer.getvalue()


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for i in range(6):
            info = tarfile.TarInfo(f"d{i % 2}/f{i}")
            info.size = 700
            archive.addfile(info, io.BytesIO(RNG.bytes(700)))
    return buffer.getvalue()


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(6):
            archive.writestr(f"d{i % 2}/f{i}", RNG.bytes(400) + bytes(400))
    return buffer.getvalue()


def unpacked(path: Path) -> list[tuple[str, bytes]]:
    """What an archive holds; nothing must be left where it is refused."""
    out = path.parent / "out"
    try:
        found = [(file.relative_to(out.resolve()).as_posix(), file.read_bytes()) for file in unpack(path, out)]
    except (ValueError, OSError):
        assert not out.exists()
        assert [p.name for p in path.parent.iterdir()] == [path.name]
        raise
    shutil.rmtree(out)
    return found


def cached(path: Path) -> bytes:
    """What the cache answers when its entry is the file: always what was decoded."""
    cache, source = Cache(path.parent / "cache"), path.parent / "source"
    source.write_bytes(b"recording")
    make = partial(np.arange, 300)
    cache.get(source, {}, make)
    (entry,) = cache.folder.rglob("*.npy")
    if path.read_bytes() != b"":
        entry.write_bytes(path.read_bytes())
    array = cache.get(source, {}, make)
    assert np.array_equal(array, np.arange(300))
    return array.tobytes()


def entry() -> bytes:
    """A good entry of the cache :func:`cached`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "e"
        path.touch()
        cached(path)
        return next(Path(folder).rglob("*.npy")).read_bytes()


def of_array(read: Callable[[Path], Any], path: Path) -> bytes:
    found = read(path)
    return b"".join(np.asarray(part).tobytes() for part in (found if isinstance(found, tuple) else (found,)))


def heard(path: Path) -> bytes:
    """The samples; the rate stands in the header, which has no checksum."""
    return np.asarray(read_audio(path)[0]).tobytes()


def kinds() -> dict[str, Callable[[], Kind]]:
    reader = lambda read: partial(of_array, read)  # noqa: E731
    images = reader(partial(read_idx, dimensions=3))
    archive = lambda name, pack: lambda: Kind(name, pack(), unpacked, name != "a.tar")  # noqa: E731
    return {
        "npy": lambda: Kind("a.npy", npy(EVENTS.T), reader(READERS[".npy"])),
        "npy of fields": lambda: Kind("a.npy", npy(fields()), reader(READERS[".npy"])),
        "dvsgesture": lambda: Kind("0.npy", npy(EVENTS.T.astype(np.int32)), reader(read_dvsgesture)),
        "bin": lambda: Kind("a.bin", nmnist(), reader(READERS[".bin"])),
        "aedat 2": lambda: Kind("a.aedat", aedat2(), reader(READERS[".aedat"])),
        "aedat 3": lambda: Kind("a.aedat", aedat3(), reader(READERS[".aedat"])),
        "idx": lambda: Kind("a-idx3-ubyte", idx(), images),
        "idx.gz": lambda: Kind("a-idx3-ubyte.gz", gzip.compress(idx()), images, True),
        "cifar binary": lambda: Kind("test_batch.bin", cifar(None), reader(read_binary)),
        "cifar python 2": lambda: Kind("test_batch", cifar(2), reader(read_python)),
        "cifar python 4": lambda: Kind("test_batch", cifar(4), reader(read_python)),
        "sphere": lambda: Kind("a.wav", sphere(), reader(read_audio)),
        "wav": lambda: Kind("a.wav", sound("WAV", "PCM_16"), reader(read_audio)),
        "wav of floats": lambda: Kind("a.wav", sound("WAV", "FLOAT"), reader(read_audio)),
        "flac": lambda: Kind("a.wav", sound("FLAC", "PCM_16"), heard, True),
        "flac of 24 bits": lambda: Kind("a.wav", sound("FLAC", "PCM_24"), heard, True),
        "tar": archive("a.tar", tar),
        "tar.gz": archive("a.tar.gz", lambda: gzip.compress(tar())),
        "tar.bz2": archive("a.tar.bz2", lambda: bz2.compress(tar())),
        "tar.xz": archive("a.tar.xz", lambda: lzma.compress(tar())),
        "zip": archive("a.zip", zipped),
        "cache": lambda: Kind("entry", entry(), cached, True),
    }


def attempt(kind: Kind, content: bytes, folder: Path, good: Any) -> bool:
    """Read one damaged file; whether it was accepted. Raises AssertionError where the promise is broken."""
    path = folder / kind.name
    path.write_bytes(content)
    problem = ""
    try:
        value = kind.read(path)
    except (ValueError, OSError) as error:
        problem = str(error) or repr(error)
    if problem:
        assert str(path) in problem, f"names no file: {problem}"
        assert "\n" not in problem, f"more than a sentence: {problem}"
        return False
    assert not kind.checksum or value == good, "another value in spite of a checksum"
    return True


def trial(name: str, folder: Path, *, cases: int | None = None, seconds: float = 0.0) -> tuple[int, int]:
    """Try so many cases, or for so many seconds; how many were tried, and accepted."""
    kind = kinds()[name]()
    (folder / kind.name).write_bytes(kind.content)
    good = kind.read(folder / kind.name)
    before, end = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic() + seconds
    tried = accepted = 0
    while tried < cases if cases is not None else time.monotonic() < end:
        content = mutated(kind.content, random.Random(f"{name} {tried}"))
        try:
            accepted += attempt(kind, content, folder, good)
        except Exception as error:
            raise AssertionError(f"{name}, case {tried}: {type(error).__name__}: {error}") from error
        tried += 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST
    return tried, accepted


@pytest.mark.parametrize("name", kinds())
def test_damaged_files_are_told_or_read(name: str, tmp_path: Path) -> None:
    tried, accepted = trial(name, tmp_path, cases=60)
    assert tried == 60
    assert accepted < 60 or name == "cache"  # damage was seen


@pytest.mark.hostile(weight=0.4)
@pytest.mark.parametrize("name", kinds())
def test_damaged_files_for_long(name: str, tmp_path: Path, seconds: float, tell: Tell) -> None:
    tried, accepted = trial(name, tmp_path, seconds=seconds)
    tell(f"damaged files, {name}", tried, f"{accepted:,} accepted")
