"""Decoded samples kept on disk, found again by what the recording holds and how it was decoded.

The name of an entry is a digest of the file's content and of the settings, so that neither an edited
recording nor another setting can be answered with an old array. An entry is written beside its place and
moved there in one step: a killed writer leaves no half of it, and two writers leave the whole of one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)
VERSION = 1  # of what entries mean: one more makes all older ones unknown


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
        """The user's own: ``~/.cache/snntorch_brp``, or below ``$XDG_CACHE_HOME``."""
        return cls(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "snntorch_brp")

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
        key = json.dumps([VERSION, content_digest(source), settings], sort_keys=True)
        name = hashlib.sha256(key.encode()).hexdigest()
        entry = self.folder / name[:2] / f"{name}.npy"
        try:
            return np.asarray(np.load(entry, allow_pickle=False))
        except FileNotFoundError:
            pass
        except (ValueError, EOFError) as error:
            logger.warning("the cached %s is damaged (%s): made anew from %s", entry, error, source)
        array = make()
        try:
            write_whole(entry, array)
        except OSError as error:
            logger.warning("the cache could not be written: %s", error)
        return array


def write_whole(entry: Path, array: NDArray[Any]) -> None:
    """Write ``array`` to ``entry`` (.npy) so that a reader sees all of it or nothing."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=entry.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.save(file, array, allow_pickle=False)
        os.replace(partial, entry)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


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
