"""Unpack an archive: whole or not at all, nowhere but into its folder, and over nothing that is there.

The members are written into a folder of their own first. Only when the archive has been read to its last byte, so
that every checksum it has was looked at, are they moved to where they belong.
"""

from __future__ import annotations

import bz2
import gzip
import logging
import lzma
import os
import shutil
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

from snntorch_brp.data.recordings import OnBad
from snntorch_brp.runtime.files import resolved

logger = logging.getLogger(__name__)

BLOCK = 1 << 20
SMALL = 64 << 20  # bytes that an archive may hold at any ratio: runs of zeros are packed well


@dataclass(frozen=True)
class Limits:
    """What an archive may hold before it is taken for a bomb.

    Attributes:
        bytes: Sum of the sizes of its files, holes of sparse files included.
        ratio: Bytes for each byte of the archive, counted above the first 64 MiB.
        files: Number of members.
    """

    bytes: int = 64 << 30
    ratio: float = 1000.0
    files: int = 1_000_000


DEFAULT_LIMITS = Limits()


class Refused(ValueError):
    """An archive that must not be unpacked, or that is damaged."""


class Member(NamedTuple):
    """What an archive holds under one name; ``content`` can be read until the next member is asked for."""

    name: str
    size: int
    plain: bool  # a file, not a link or a device
    content: IO[bytes] | None


def unpack(
    archive: Path,
    folder: Path,
    *,
    on_bad: OnBad = "error",
    overwrite: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> list[Path]:
    """Unpack the plain files of a tar (plain, gzip, bzip2 or xz) or zip archive under ``folder``.

    Only contents are written: owners, modes, links and devices are not.

    Args:
        archive: The file.
        folder: Made where it is not there.
        on_bad: What to do with a member that is no plain file or whose path leads out of ``folder``:
            "error" refuses the archive, "skip" leaves the member out and logs it.
        overwrite: Whether files that are there already may be replaced.
        limits: How much the archive may hold.

    Returns:
        The files written.

    Raises:
        ValueError: If it is no archive, a damaged one or one beyond the limits, or holds a member that must not be
            written. Nothing was written then.
        OSError: If a file cannot be read or written. Nothing was written then.
    """
    root = resolved(folder)
    start = next(path for path in (root, *root.parents) if path.is_dir())
    with _one_sentence(archive), tempfile.TemporaryDirectory(prefix=".unpack-", dir=start) as scratch:
        plan = _Plan(archive, root, on_bad, overwrite, limits)
        staged: dict[Path, Path] = {}
        for member in _members(archive):
            target = plan.admit(member)
            place = Path(scratch, str(len(staged))) if target else None
            if target and place:
                staged[target] = place
            _copy(member, place)
        if not plan.count:
            raise Refused(f"{archive}: holds no files")
        _move(staged, Path(scratch))
    return list(staged)


@dataclass
class _Plan:
    """Looks at one member after the other and says where it goes."""

    archive: Path
    root: Path
    on_bad: OnBad
    overwrite: bool
    limits: Limits
    count: int = 0
    total: int = 0
    files: set[Path] = field(default_factory=set)
    folders: set[Path] = field(default_factory=set)

    def admit(self, member: Member) -> Path | None:
        """The member's place; none if it is left out."""
        self.count += 1
        self.total += member.size
        self._within_limits(member.size)
        problem = f"leads out of {self.root}" if "\0" not in member.name else "has a zero byte in its name"
        target = self.root if "\0" in member.name else resolved(self.root / member.name)
        if target != self.root and target.is_relative_to(self.root):
            problem = "" if member.plain else "is a link or a device, not a file"
        if problem and self.on_bad == "error":
            raise Refused(f"{self.archive}: the member {member.name!r} {problem}: nothing was unpacked")
        if problem:
            logger.warning("%s: the member %r %s: skipped", self.archive, member.name, problem)
            return None
        self._free(target)
        return target

    def _within_limits(self, size: int) -> None:
        packed = max(self.archive.stat().st_size, 1)
        if self.count > self.limits.files:
            raise Refused(
                f"{self.archive}: holds more than {self.limits.files:,} members: --max-files raises the limit"
            )
        if self.total > self.limits.bytes:
            raise Refused(
                f"{self.archive}: tells {self.total:,} bytes of files, more than the limit of {self.limits.bytes:,}: "
                "raise it with --max-size (limits= in Python) if that is right"
            )
        if self.total > SMALL and self.total > self.limits.ratio * packed:
            raise Refused(
                f"{self.archive}: {packed:,} bytes tell {self.total:,} bytes of files, more than "
                f"{self.limits.ratio:,.0f} to 1: raise it with --max-ratio (limits= in Python) if that is right"
            )
        start = next(path for path in (self.root, *self.root.parents) if path.is_dir())
        if size > BLOCK and size > shutil.disk_usage(start).free:
            raise Refused(f"{self.archive}: tells a file of {size:,} bytes, more than is free on the disk")

    def _free(self, target: Path) -> None:
        """Raise unless nothing is in the way of a file."""
        above = [path for path in target.parents if path != self.root and path.is_relative_to(self.root)]
        clash = target in self.folders or any(path in self.files for path in above)
        if clash or (target in self.files and not self.overwrite):
            raise Refused(f"{self.archive}: holds {target.relative_to(self.root)} twice: nothing was unpacked")
        if target.is_dir() or any(path.exists() and not path.is_dir() for path in (*above, self.root)):
            raise Refused(f"{self.archive}: {target}: a folder and a file of one name: nothing was unpacked")
        if os.path.lexists(target) and not self.overwrite:
            raise Refused(
                f"{self.archive}: {target} is there already: nothing was unpacked; name another folder, or add "
                "--overwrite (overwrite=True in Python)"
            )
        self.files.add(target)
        self.folders.update(above)


def _copy(member: Member, place: Path | None) -> None:
    """Read a member to its end, and write it where a place is given."""
    if member.content is None:
        return
    left = member.size
    with member.content as source, place.open("wb") if place else open(os.devnull, "wb") as file:
        while block := source.read(min(BLOCK, left + 1)):
            left -= len(block)
            if left < 0:
                break
            file.write(block)
    if left:
        raise Refused(f"the member {member.name!r} has another size than it tells")


def _move(staged: dict[Path, Path], scratch: Path) -> None:
    """Move all files to their places, or none."""
    done: list[tuple[Path, Path | None]] = []
    try:
        for target, place in staged.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            old = scratch / f"old{len(done)}" if os.path.lexists(target) else None
            if old:
                os.replace(target, old)
            done.append((target, old))
            os.replace(place, target)
    except BaseException:
        for target, old in reversed(done):
            target.unlink(missing_ok=True)
            if old:
                os.replace(old, target)
        raise


def _members(archive: Path) -> Iterator[Member]:
    """The members that are not folders, in the archive's order; raises if anything in it is damaged."""
    with archive.open("rb") as file:
        magic = file.read(6)
    yield from _zip_members(archive) if magic[:2] == b"PK" else _tar_members(archive, magic)


def _number_of_members(archive: Path) -> int | None:
    """How many members a zip archive says it has; None where there are too many for its last record to say."""
    with archive.open("rb") as file:
        file.seek(-min(archive.stat().st_size, _LAST_RECORD.size + 0xFFFF), os.SEEK_END)  # a comment may follow
        end = file.read()
    (told,) = _LAST_RECORD.unpack_from(end, end.rindex(b"PK\5\6"))
    return None if told == 0xFFFF else told


_LAST_RECORD = struct.Struct("<10xH10x")


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as zipped:
        told, found = _number_of_members(archive), len(zipped.infolist())
        if told not in (found, None):  # zipfile takes what is left of a list with a damaged length
            raise Refused(f"its list has {found} members of {told}")
        for info in zipped.infolist():
            # a folder is opened too: one damaged letter makes a folder of a file's name, and shows there
            content = zipped.open(info)
            if info.is_dir():
                with content:
                    if info.file_size or content.read(1):
                        raise Refused(f"the folder {info.filename!r} has a content")
            else:
                yield Member(info.filename, info.file_size, True, content)


class _Sips:
    """A file for tarfile, which reads the head of a member at once, however long it tells to be."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, size: int) -> bytes:
        """So many bytes, if they are no more than any head has."""
        if not 0 <= size <= SMALL:
            raise Refused(f"a member's head tells {size:,} bytes")
        return self.file.read(size)


def _tar_members(archive: Path, magic: bytes) -> Iterator[Member]:
    openers = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
    opener = next((opener for start, opener in openers.items() if magic.startswith(start)), open)
    with opener(archive, "rb") as file:  # type: ignore[operator]
        stream = _Sips(file)
        tar = tarfile.open(fileobj=stream, mode="r:")  # type: ignore[call-overload]  # noqa: SIM115 - file is closed
        for entry in tar:
            if not entry.isdir():
                content = tar.extractfile(entry) if entry.isfile() else None
                yield Member(entry.name, entry.size if entry.isfile() else 0, entry.isfile(), content)
            tar.members = []  # tarfile would keep them all
        # tarfile takes a damaged header for the end: what it stopped at must be zeros, up to the last byte
        stream.seek(tar.offset)
        length = 0
        while block := stream.read(BLOCK):
            length += len(block)
            if block.count(0) != len(block):
                raise Refused(f"a damaged header at byte {tar.offset:,}")
            if length > SMALL:
                raise Refused(f"more than {SMALL:,} bytes of zeros after its end")
        if length < tarfile.BLOCKSIZE:
            raise Refused("truncated: the mark of its end is missing")


@contextmanager
def _one_sentence(archive: Path) -> Iterator[None]:
    """Whatever the libraries throw at a damaged archive, as one sentence with its name."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:  # of the files, not of the archive's content
            name = error.filename or archive
            raise OSError(error.errno, f"{name}: {error.strerror}: nothing was unpacked") from error
        raise _damaged(archive, error) from error
    except Exception as error:
        if isinstance(error, Refused) and str(archive) in str(error):
            raise
        raise _damaged(archive, error) from error


def _damaged(archive: Path, error: Exception) -> Refused:
    if "password" in str(error):
        return Refused(f"{archive}: is protected by a password: unpack it with another program")
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return Refused(f"{archive}: not a tar or zip archive, one of an unknown kind, or damaged: {reason}")
