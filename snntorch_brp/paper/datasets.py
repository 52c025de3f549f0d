"""The paper's data sets, and what takes their place where the user does not have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from snntorch_brp.tasks.base import Task
from snntorch_brp.tasks.registry import TASKS


@dataclass(frozen=True)
class PaperDataset:
    """A data set of the paper, in one of its forms.

    Attributes:
        name: As in the paper.
        task: Its name in the table of tasks; the tasks that stand in for it say so themselves.
        options: Options of the task, and of those that stand in.
        steps: The numbers of time steps that Fig. 8 compares.
    """

    name: str
    task: str
    options: Mapping[str, str | None] = field(default_factory=dict)
    steps: Sequence[int] = (10, 15, 20, 25, 30)

    def __post_init__(self) -> None:
        for name in self.tasks:
            unknown = set(self.options) - set(TASKS[name].options)
            if unknown:
                raise ValueError(f"{self.name}: {name} has no option {sorted(unknown)[0]!r}")

    @property
    def tasks(self) -> list[str]:
        """The tasks that can be used, in the order of preference: its own, then what stands in; files come first."""
        if self.task not in TASKS:
            raise ValueError(f"{self.name}: there is no task {self.task!r}; there are {', '.join(TASKS)}")
        others = [name for name, task in TASKS.items() if task.stands_in_for == self.task]
        return [self.task, *sorted(others, key=lambda name: not TASKS[name].needs_data)]


MNIST = PaperDataset("MNIST", "mnist")
CIFAR10 = PaperDataset("CIFAR-10", "cifar10")
TIDIGITS_1D = PaperDataset("TIDigits, 1-D", "tidigits", {"layout": "1d"})
TIDIGITS_2D = PaperDataset("TIDigits, 2-D", "tidigits", {"layout": "2d"})
DVSGESTURE = PaperDataset("DvsGesture", "dvsgesture", steps=(30, 45, 60, 75, 90))
ALL = (MNIST, CIFAR10, TIDIGITS_1D, TIDIGITS_2D, DVSGESTURE)


@dataclass(frozen=True)
class DatasetInUse:
    """A data set of the paper, and the data that is used for it.

    Attributes:
        paper: The data set of the paper.
        task: Name of the task that is trained on: the paper's own, or one that stands in.
        data: Its folder, where it needs one.
        simulated: Whether the recordings are simulated.
    """

    paper: PaperDataset
    task: str
    data: Path | None
    simulated: bool = False

    @property
    def own(self) -> bool:
        """Whether this is the data set that the paper used."""
        return self.task == self.paper.task and not self.simulated

    @property
    def label(self) -> str:
        """The data set, and what it stands in for."""
        if self.own:
            return self.paper.name
        task = TASKS[self.task]
        title = task.simulation.title if self.simulated and task.simulation else task.short_title
        return f"{title}, in place of {self.paper.name}"

    def configured(self, *, steps: int | None, device: str) -> Task:
        """The task's record, with the paper's options and ``steps`` (its own where None)."""
        task = TASKS[self.task]
        return task.configured(steps=steps or task.steps, device=device, options=self.paper.options)
