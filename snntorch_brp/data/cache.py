"""Decoded samples kept on disk, found again by what the recording holds and how it was decoded.

The name of an entry is a digest of the file's content and of the settings, so that neither an edited
recording nor another setting can be answered with an old array. An entry is written beside its place and
moved there in one step: a killed writer leaves no half of it, and two writers leave the whole of one. It carries
a checksum; an entry that fails it is made anew.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snntorch_brp.runtime.files import PARTIAL, write_whole

logger = logging.getLogger(__name__)
VERSION = 2  # of what entries mean: one more makes all older ones unknown


@dataclass(frozen=True)
class Cache:
    """Arrays on disk under one folder.

    Example:
        >>> cache = Cache(Path("cache"))
        >>> frames = cache.get(path, {"steps": 60}, lambda: decode(path))  # doctest: +SKIP
    """

    folder: Path

    @classmethod
    def default(cls) -> Cache:
        """The user's own: ``~/.cache/snntorch_brp``, or below ``$XDG_CACHE_HOME``.

        A user without a home gets one below the folder for temporary files, and a line in the log.
        """
        return cls(_user_folder() / "snntorch_brp")

    @classmethod
    def named(cls, name: str) -> Cache | None:
        """The cache in the folder ``name``; none for "off"."""
        return None if name == "off" else cls(Path(name))

    def get(self, source: Path, settings: Mapping[str, Any], make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """The array that ``make`` gives for ``source`` under ``settings``, from disk where it is there.

        Args:
            source: The recording's file; its content counts, not its name or date.
            settings: All that the array depends on besides the content, as JSON knows it.
            make: Computes the array where it is not there or its entry is damaged.

        Raises:
            OSError: If the recording cannot be read.
        """
        key = json.dumps([VERSION, content_digest(source), settings], sort_keys=True).encode()
        name = hashlib.sha256(key).hexdigest()
        entry = self.folder / name[:2] / f"{name}.npy"
        try:
            return read_entry(entry, key)
        except FileNotFoundError:
            pass
        except (ValueError, OSError) as error:
            logger.warning("the cached %s cannot be used (%s): made anew from %s", entry, error, source)
        array = make()
        try:
            write_entry(entry, key, array)
        except OSError as error:
            logger.warning("the cache could not be written: %s", error)
        return array


def write_entry(entry: Path, key: bytes, array: NDArray[Any]) -> None:
    """Write ``array`` to ``entry``, a .npy file with the SHA-256 of its key and content behind it."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    _sweep(entry.parent.parent)
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    content = buffer.getvalue()
    write_whole(entry, content + hashlib.sha256(key + content).digest(), durable=False)


def read_entry(entry: Path, key: bytes) -> NDArray[Any]:
    """The array of an entry.

    Raises:
        ValueError: If a bit of it was changed, or it is another key's.
        OSError: If it cannot be read.
    """
    whole = entry.read_bytes()
    content, digest = whole[:-32], whole[-32:]
    if hashlib.sha256(key + content).digest() != digest:
        raise ValueError("damaged: its checksum does not fit")
    return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))


def _user_folder() -> Path:
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"])
    try:
        home = Path.home()
        if home != Path(home.anchor):
            return home / ".cache"
    except RuntimeError:
        pass
    folder = Path(tempfile.gettempdir()) / f"cache-{getattr(os, 'getuid', int)()}"
    logger.warning("no home folder: decoded recordings are kept under %s; set XDG_CACHE_HOME to choose", folder)
    return folder


@lru_cache(maxsize=64)
def _sweep(folder: Path) -> None:
    """Remove, once a process, what writers that were killed more than an hour ago have left."""
    for path in folder.glob(f"??/.*{PARTIAL}"):
        with suppress(OSError):  # another process was quicker
            if time.time() - path.stat().st_mtime > 3600:
                path.unlink()


def content_digest(path: Path) -> str:
    """SHA-256 of a file's content; asked again in this process, it is not read again unless size or date changed."""
    status = path.stat()
    return _digest(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1 << 17)
def _digest(path: Path, size: int, mtime_ns: int) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
