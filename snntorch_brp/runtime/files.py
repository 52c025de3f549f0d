"""Files that are whole at any moment."""

from __future__ import annotations

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
