"""Which data sets lie in which folders, and what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from snntorch_brp.data.check import CLASS_FOLDERS, Progress, Report
from snntorch_brp.tasks.registry import TASKS


def find_data(folders: Sequence[Path]) -> dict[str, Path]:
    """Which tasks' data sets lie in some folders, or up to two folders below them.

    Args:
        folders: Where to look; what an earlier one holds counts before a later one.

    Returns:
        The folder of each data set that is there, by name of its task.

    Raises:
        ValueError: If a folder does not exist or holds nothing known.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{folder} is not a folder")
        places = [folder, *(p for pattern in ("*/", "*/*/") for p in sorted(folder.glob(pattern)) if p.is_dir())]
        here = {name: place for name in TASKS if (place := _first(name, places)) is not None}
        if not here:
            raise ValueError(f"no data set that the figures know under {folder}; known: {', '.join(known())}")
        found = {**here, **found}
    return found


def _first(name: str, places: Sequence[Path]) -> Path | None:
    files = TASKS[name].files
    return None if files is None else next((place for place in places if files.found_in(place)), None)


def known() -> list[str]:
    """Names of the data sets that are read from files."""
    return [task.short_title for task in TASKS.values() if task.files is not None]


def check(root: Path, *, progress: Progress = lambda recordings: recordings) -> Report:
    """Look through a folder and read everything in it.

    Args:
        root: The folder of a data set, or the one above it.
        progress: Wraps the list of recordings, e.g. tqdm.

    Returns:
        What is there.

    Raises:
        FileNotFoundError: If there is nothing that this package knows.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder")
    places = [root, *(path for path in sorted(root.glob("*/")) if path.is_dir())]
    readers = [
        *((task.files.found_in, task.files.check) for task in TASKS.values() if task.files is not None),
        *((lambda place, pattern=pattern: any(place.glob(pattern)), own.check) for pattern, own in CLASS_FOLDERS),
    ]
    for found_in, read in readers:
        place = next((place for place in places if found_in(place)), None)
        if place is not None:
            try:
                return read(place, progress)
            except FileNotFoundError:
                continue  # files of the right names, but none of this data set
    found = ", ".join(sorted(path.name for path in root.iterdir())[:6]) or "nothing"
    raise FileNotFoundError(
        f"no data set that this package knows under {root} (found: {found}); it knows {', '.join(known())}, "
        f"{' and '.join(own.name for _, own in CLASS_FOLDERS)}"
    )
