"""Unpack an archive without letting it write anywhere but into its folder."""

from __future__ import annotations

import logging
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

from snntorch_brp.data.recordings import OnBad

logger = logging.getLogger(__name__)


class Member(NamedTuple):
    """What an archive holds under one name."""

    name: str
    plain: bool  # a file, not a link or a device
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path, *, on_bad: OnBad = "error") -> list[Path]:
    """Unpack the plain files of a tar (compressed or not) or zip archive under ``folder``.

    Only contents are written: owners, modes, links and devices are not.

    Args:
        archive: The file.
        folder: Made where it is not there.
        on_bad: What to do with a member that is no plain file or whose path leads out of ``folder``:
            "error" raises before anything is written, "skip" leaves it out and logs it.

    Returns:
        The files written.

    Raises:
        ValueError: If it is no archive or a damaged one, or holds a member that must not be written.
    """
    root = folder.resolve()
    with _members(archive) as members:
        wanted: dict[Path, Member] = {}
        for member in members:
            target = (root / member.name).resolve()
            if not target.is_relative_to(root) or target == root:
                problem = f"leads out of {folder}"
            else:
                problem = "" if member.plain else "is a link or a device, not a file"
            if problem and on_bad == "error":
                raise ValueError(f"{archive}: the member {member.name!r} {problem}: nothing was unpacked")
            if problem:
                logger.warning("%s: the member %r %s: skipped", archive, member.name, problem)
            else:
                wanted[target] = member
        for target, member in wanted.items():
            source = member.open()
            assert source is not None
            target.parent.mkdir(parents=True, exist_ok=True)
            with source, target.open("wb") as file:
                shutil.copyfileobj(source, file)
    return list(wanted)


@contextmanager
def _members(archive: Path) -> Iterator[list[Member]]:
    """The members of an archive that are not folders."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                infos = [info for info in zipped.infolist() if not info.is_dir()]
                yield [Member(info.filename, True, partial(zipped.open, info)) for info in infos]
        else:
            with tarfile.open(archive) as tar:
                entries = [entry for entry in tar if not entry.isdir()]
                yield [Member(entry.name, entry.isfile(), partial(tar.extractfile, entry)) for entry in entries]
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{archive}: not a tar or zip archive, or a damaged one: {error}") from error
