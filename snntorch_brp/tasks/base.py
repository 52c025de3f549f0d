"""What a task is: a data set, what the paper trains on it, and all that the rest of the package asks about it.

A new data set touches two files: its reader (in :mod:`snntorch_brp.data`) and its record, one :class:`Task` in the
table of :mod:`snntorch_brp.tasks.registry`. The command line, the figures and their budgets, ``data check``,
``data show`` and the label-only study follow from the record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils.data import Dataset

from snntorch_brp.data.check import Progress, Report
from snntorch_brp.encoding import RateEncoder
from snntorch_brp.runtime.files import resolved
from snntorch_brp.tasks.protocol import Override, Protocol, check_budgets

Draw = Callable[[Path | None, int, int], Sequence[tuple[str, Any]]]
"""Draws one sample: folder, number of the sample and time steps T to pictures, each a suffix and a figure (a "-1d.png")
or an animation (a ".gif")."""


class TrainTest(NamedTuple):
    """A training and a test set.

    Attributes:
        train: The training set.
        test: The test set.
        split: How they were split, reported beside every accuracy.
        encoder: Takes the place of the task's, where the data brings its own.
        validation: Held back from the training set, where something is.
        groups: Number of the speaker of each training sample, where the split is by speaker.
        simulated: Whether the recordings are simulated.
    """

    train: Dataset
    test: Dataset
    split: str
    encoder: Callable[[Tensor], Tensor] | None = None
    validation: Dataset | None = None
    groups: Tensor | None = None
    simulated: bool = False

    @property
    def note(self) -> str:
        """What must stand before every title: that the data is simulated, where it is."""
        return "simulated: " if self.simulated else ""


@dataclass(frozen=True)
class Option:
    """Something that the user may choose for one task: its default, the choices (any text where empty), what it is."""

    default: str | None
    choices: tuple[str, ...]
    help: str


@dataclass(frozen=True, kw_only=True)
class Files:
    """How a data set's folder is known, and how it is checked.

    Attributes:
        pattern: Glob, relative to the folder, of files that only this data set has.
        check: Reads everything in a folder and reports what is there; the second argument wraps the list of files.
        folder_has: What the folder's own name must contain, in any case, where the files alone do not tell.
        folder_lacks: What it must not contain.
    """

    pattern: str
    check: Callable[[Path, Progress], Report]
    folder_has: str = ""
    folder_lacks: str = ""

    def found_in(self, folder: Path) -> bool:
        """Whether the files lie directly in a folder."""
        name = resolved(folder).name.lower()
        if self.folder_has not in name or (self.folder_lacks and self.folder_lacks in name):
            return False
        return any(folder.glob(self.pattern))


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """Recordings that the package writes itself, in the layout of a data set, for users who do not have it.

    Attributes:
        title: What they are, for figures.
        make: Writes them under a folder; takes ``seed``, ``overwrite`` and ``progress`` besides.
        found_in: Whether the data under a folder is simulated.
        reader: Raises an ImportError where what reads them is not installed; it says what to install.
    """

    title: str
    make: Callable[..., Path]
    found_in: Callable[[Path], bool]
    reader: Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A data set, what the paper trains on it, and how everything else deals with it.

    Attributes:
        title: What the data is, in a few words.
        short_title: Its name, for figures.
        load: The training and the test set, from the folder that the user names (None where none is needed).
        files: How its folder is known; None for data that comes with a library.
        input_shape: Shape of one sample at one step.
        num_classes: Number of classes K.
        network: The network, in the paper's notation.
        steps: Time steps T.
        epochs: Epochs that give a fair result in short time.
        draw: Draws one sample, for ``data show``; None where there is nothing to draw.
        label_only: Settings of the label-only study; None leaves the task out of it.
        alpha: α of eq. 3.
        lr: Learning rate of Adam.
        batch_size: Samples in a batch.
        encoder: Makes the encoder from the number of time steps and α.
        rate_coded: Whether α matters: not for recordings that are spikes already.
        stands_in_for: Name of the task whose place it takes in the paper's figures where that data is missing.
        simulation: Recordings that can be simulated where the user has none.
        budgets: What figures do otherwise on this task, by name of the budget.
        options: What the user may choose besides, by name.
        configure: Makes this task with other options, from keyword arguments: ``steps``, ``device`` and the options.

    Raises:
        ValueError: If a field cannot be; it is raised where the record is made.
    """

    title: str
    short_title: str
    load: Callable[[Path | None], TrainTest]
    files: Files | None
    input_shape: tuple[int, ...]
    num_classes: int
    network: str
    steps: int
    epochs: int
    draw: Draw | None
    label_only: Protocol | None
    alpha: float = 1.0
    lr: float = 1e-3
    batch_size: int = 50
    encoder: Callable[[int, float], Callable[[Tensor], Tensor]] = RateEncoder
    rate_coded: bool = True
    stands_in_for: str | None = None
    simulation: Simulation | None = None
    budgets: Mapping[str, Override] = field(default_factory=dict)
    options: Mapping[str, Option] = field(default_factory=dict)
    configure: Callable[..., Task] | None = None

    def __post_init__(self) -> None:
        for name in ("title", "short_title", "network"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise ValueError(f"a task needs a {name}, got {getattr(self, name)!r}")
        for name in ("num_classes", "steps", "epochs", "batch_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{self.title}: {name} must be a whole number of at least 1, got {value!r}")
        for name in ("alpha", "lr"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{self.title}: {name} must be above 0, got {getattr(self, name)!r}")
        if not self.input_shape or min(self.input_shape) < 1:
            raise ValueError(f"{self.title}: input_shape is that of one sample at one step, got {self.input_shape}")
        check_budgets(self.budgets, self.title)
        if self.options and self.configure is None:
            raise ValueError(f"{self.title} has options, and no configure that takes them")
        taken = {entry.name for entry in fields(self)} & set(self.options)
        if taken & {"steps", "epochs", "alpha", "lr", "batch_size", "encoder"}:
            raise ValueError(f"{self.title}: {sorted(taken)[0]!r} is a setting of every task, and cannot be an option")

    @property
    def needs_data(self) -> bool:
        """Whether the user must name a folder."""
        return self.files is not None

    def simulated(self, data: str | Path | None) -> bool:
        """Whether the recordings in a folder are simulated."""
        return self.simulation is not None and data is not None and self.simulation.found_in(Path(data))

    def override(self, budget: str) -> Override:
        """What a budget does otherwise on this task."""
        return self.budgets.get(budget, Override())

    def configured(self, *, steps: int, device: str, options: Mapping[str, str | None]) -> Task:
        """This task as the user wants it.

        Raises:
            ValueError: If there is no such option.
        """
        unknown = sorted(set(options) - set(self.options))
        if unknown:
            raise ValueError(f"{self.title} has no option {unknown[0]!r}; it has: {', '.join(self.options) or 'none'}")
        return self if self.configure is None else self.configure(steps=steps, device=device, **options)
