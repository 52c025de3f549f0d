"""The table of tasks, by the names that the command line uses."""

from __future__ import annotations

from collections.abc import Mapping

from snntorch_brp.named import load
from snntorch_brp.tasks.base import Task
from snntorch_brp.tasks.events import DVSGESTURE, NMNIST
from snntorch_brp.tasks.images import CIFAR10, DIGITS, FASHION_MNIST, MNIST
from snntorch_brp.tasks.memory import MEMORY
from snntorch_brp.tasks.speech import FSDD, TIDIGITS


def checked(tasks: dict[str, Task]) -> dict[str, Task]:
    """The table, once it is certain that its records go together.

    Raises:
        ValueError: If a record stands in for a task that is not there, or two records share a title or files; it is
            raised when this module is imported.
    """
    titles: set[str] = set()
    files: set[tuple[str, str]] = set()
    for name, task in tasks.items():
        if name != name.lower() or ":" in name:
            raise ValueError(f"{name!r} cannot be a task's name: small letters, and no colon")
        if task.stands_in_for is not None and task.stands_in_for not in tasks:
            raise ValueError(f"{name} stands in for {task.stands_in_for!r}, which is no task; there are {list(tasks)}")
        if task.short_title in titles:
            raise ValueError(f"two tasks have the short title {task.short_title!r}")
        titles.add(task.short_title)
        if task.files is not None:
            known_by = (task.files.pattern, task.files.folder_has)
            if known_by in files:
                raise ValueError(f"{name}: another task is known by the files {task.files.pattern!r}, too")
            files.add(known_by)
    return tasks


TASKS: dict[str, Task] = checked(
    {
        "digits": DIGITS,
        "mnist": MNIST,
        "fashion-mnist": FASHION_MNIST,
        "cifar10": CIFAR10,
        "tidigits": TIDIGITS,
        "fsdd": FSDD,
        "dvsgesture": DVSGESTURE,
        "nmnist": NMNIST,
        "memory": MEMORY,
    }
)


def task_named(name: str, tasks: Mapping[str, Task] = TASKS) -> Task:
    """A task by its name in the table, or a record of the user's own.

    Args:
        name: A key of the table, or ``module:TASK``.
        tasks: The table.

    Raises:
        ValueError: If there is none; the message says what there is.

    Example:
        >>> task_named("digits").num_classes
        10
    """
    if name in tasks:
        return tasks[name]
    if ":" not in name:
        raise ValueError(f"there is no task {name!r}; there are: {', '.join(tasks)}, or module:TASK of yours")
    found = load(name, "task")
    if not isinstance(found, Task):
        raise ValueError(f"task {name!r} is no snntorch_brp.tasks.base.Task, but {type(found).__name__}")
    return found
