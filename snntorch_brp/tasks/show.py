"""One sample of a task, drawn and written as pictures."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from snntorch_brp.tasks.registry import task_named


def draw_sample(
    task: str, root: Path | None, index: int, *, steps: int, out: Path, overwrite: bool = False
) -> list[Path]:
    """Draw one sample of a data set and write the pictures.

    Args:
        task: One of the tasks' names, or ``module:TASK``.
        root: Folder of the data set, where it needs one.
        index: Which of the samples, in the order of their files.
        steps: Time steps T.
        out: Folder to write to, made where it is not there.
        overwrite: Whether pictures that are there already may be replaced.

    Returns:
        The files written.

    Raises:
        ValueError: If there is no such sample or task, or fewer than one step.
        FileExistsError: If a picture is there already and must not be replaced.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; expected at least 1")
    record, name = task_named(task), task.replace(":", "-")
    there = sorted(path.name for path in out.glob(f"{name}-{index}[-.]*"))
    if there and not overwrite:
        raise FileExistsError(f"{out} holds {', '.join(there)} already: name another folder, or add --overwrite")
    if record.draw is None:
        raise ValueError(f"there is nothing to draw for {task!r}: its record has no 'draw'")
    if root is None and record.needs_data:
        raise ValueError(f"{task} needs the folder of its data")
    return [_save(picture, out / f"{name}-{index}{suffix}") for suffix, picture in record.draw(root, index, steps)]


def _save(picture: object, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(picture, Figure):
        picture.savefig(path, dpi=120, bbox_inches="tight")
        plt.close(picture)
    else:
        picture.save(path, writer="pillow")  # type: ignore[attr-defined]
        plt.close(picture._fig)  # type: ignore[attr-defined]
    return path
