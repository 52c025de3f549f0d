"""A run folder belongs to one run: a second process is kept out, and nothing in it is replaced unasked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from snntorch_brp.runtime.files import remove_partial

LOCK = ".lock"
FILES = (
    "config.json",
    "metrics.jsonl",
    "model.pt",
    "test.json",
    "learning_curve.png",
    "raster.png",
    "membrane.png",
    "confusion.png",
    "checkpoints",
    "tensorboard",
)
"""All that a run writes into its folder."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Inside the block no other process trains in the folder, which is made; a folder left empty is removed.

    The system gives the lock back when the process ends, however it ends.

    Raises:
        FileExistsError: If another process holds it, or ``folder`` is a file.
    """
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    handle = _lock(folder / LOCK)
    try:
        remove_partial(folder)
        remove_partial(folder / "checkpoints")
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)  # before the lock is given back: see _lock
        os.close(handle)
        for path in new:
            if not any(path.iterdir()):
                path.rmdir()


def _lock(path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _take(handle)
            if os.path.exists(path) and os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        except BlockingIOError:
            os.close(handle)
            raise FileExistsError(
                f"another process is training in {path.parent}: wait for its end, or name another folder with --out"
            ) from None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # who held it before has removed the file meanwhile


def _take(handle: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError as error:
            raise BlockingIOError(*error.args) from error
        return
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def held(folder: Path) -> list[str]:
    """Which of the names of a run's files there are."""
    return [name for name in FILES if os.path.lexists(folder / name)]


def check_free(folder: Path) -> None:
    """Raise a FileExistsError if the folder holds something that a new run would replace."""
    found = held(folder)
    if not found:
        return
    if "config.json" in found:
        raise FileExistsError(
            f"{folder} holds a run already: go on with --resume, name another folder with --out, or replace it "
            "with --overwrite"
        )
    raise FileExistsError(
        f"{folder} holds {', '.join(found)} and no config.json: it is not known what they belong to; name another "
        "folder with --out, or replace them with --overwrite"
    )


def clear(folder: Path) -> None:
    """Remove the files of a run, and no others."""
    for path in (folder / name for name in held(folder)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
