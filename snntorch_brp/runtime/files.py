"""Files that are whole at any moment."""

from __future__ import annotations

import errno
import os
from pathlib import Path

PARTIAL = ".partial"


def write_whole(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file so that a crash at any moment leaves the old one or the new one, and never a half.

    It is written beside its place, brought to the disk, and moved there in one step; then the folder is brought to
    the disk too.

    Args:
        path: The file; its folder must exist.
        content: What it shall hold.
        durable: Whether to wait until the disk has it; not needed for what is checked and made anew when damaged.

    Raises:
        OSError: If it cannot be written, as on a full disk; the old file is untouched then.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        reason = f"{path} could not be written ({error.strerror}); what was there before is untouched"
        raise OSError(error.errno, reason) from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(path.parent)


def resolved(path: Path) -> Path:
    """The path without links, whether there is anything or not.

    Raises:
        OSError: If its links go round in a circle, which older versions of Python have another error for.
    """
    try:
        return path.resolve()
    except RuntimeError as error:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from error


def remove_partial(folder: Path) -> None:
    """Remove what killed writers left in a folder."""
    for path in folder.glob(f".*{PARTIAL}"):
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # there a folder cannot be opened
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
