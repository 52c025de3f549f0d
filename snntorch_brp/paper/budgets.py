"""The paper's tasks, and what stands in for the data that a user does not have; how much to spend on a figure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from snntorch_brp.tasks.base import Task
from snntorch_brp.tasks.registry import TASKS


@dataclass(frozen=True)
class Slot:
    """A data set of the paper, and the tasks that can take its place: its own first, then what stands in.

    Attributes:
        name: As in the paper.
        tasks: Names in the table of tasks, in the order of preference.
        options: Options for them.
        steps: The numbers of time steps that Fig. 8 compares.
    """

    name: str
    tasks: Sequence[str]
    options: Mapping[str, str | None] = field(default_factory=dict)
    steps: Sequence[int] = (10, 15, 20, 25, 30)


MNIST = Slot("MNIST", ("mnist", "digits"))
CIFAR10 = Slot("CIFAR-10", ("cifar10",))
TIDIGITS_1D = Slot("TIDigits, 1-D", ("tidigits", "fsdd"), {"layout": "1d"})
TIDIGITS_2D = Slot("TIDigits, 2-D", ("tidigits", "fsdd"), {"layout": "2d"})
DVSGESTURE = Slot("DvsGesture", ("dvsgesture", "nmnist"), steps=(30, 45, 60, 75, 90))

SHORT_TITLES = {
    "mnist": "MNIST",
    "digits": "scikit-learn's 8x8 digits",
    "cifar10": "CIFAR-10",
    "tidigits": "TIDigits",
    "fsdd": "Free Spoken Digit Dataset",
    "dvsgesture": "DvsGesture",
    "nmnist": "N-MNIST",
}
_FILES = {  # what gives a data set away in its folder
    "mnist": "train-images-idx3-ubyte*",
    "cifar10": "data_batch_1*",
    "tidigits": "train/*/*/*.[wW][aA][vV]",
    "fsdd": "recordings/*_*_*.wav",
    "dvsgesture": "ibmGestureTrain/*/*.npy",
    "nmnist": "Train/*/*.bin",
}


@dataclass(frozen=True)
class Setting:
    """A slot filled with data that is there.

    Attributes:
        slot: The data set of the paper.
        task: Name of the task that takes its place.
        data: Its folder, where it needs one.
        simulated: Whether the recordings are simulated.
    """

    slot: Slot
    task: str
    data: Path | None
    simulated: bool = False

    @property
    def own(self) -> bool:
        """Whether this is the data set that the paper used."""
        return self.task == self.slot.tasks[0] and not self.simulated

    @property
    def label(self) -> str:
        """The data set, and what it stands in for."""
        if self.own:
            return self.slot.name
        title = "simulated gestures" if self.simulated else SHORT_TITLES[self.task]
        return f"{title}, in place of {self.slot.name}"

    def configured(self, *, steps: int | None, device: str) -> Task:
        """The task, with the slot's options and ``steps`` (its own where None)."""
        options = {key: value for key, value in self.slot.options.items() if key in TASKS[self.task].options}
        return TASKS[self.task].configured(steps=steps or TASKS[self.task].steps, device=device, options=options)


def find_data(folders: Sequence[Path]) -> dict[str, Path]:
    """Which data sets lie in some folders, or up to two folders below them.

    Raises:
        ValueError: If a folder does not exist or holds nothing known.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{folder} is not a folder")
        places = [folder, *(p for pattern in ("*/", "*/*/") for p in sorted(folder.glob(pattern)) if p.is_dir())]
        here = {
            name: place
            for name, pattern in _FILES.items()
            for place in reversed(places)  # the place nearest to the folder named stays
            if any(place.glob(pattern)) and not (name == "mnist" and "fashion" in place.name.lower())
        }
        if not here:
            raise ValueError(f"no data set of the paper, nor one that stands in, under {folder}; known: {list(_FILES)}")
        found = {**here, **found}
    return found


@dataclass(frozen=True)
class Budget:
    """How much to spend.

    Attributes:
        name: "quick", "cpu" or "full".
        epochs: Passes over the training set.
        task_epochs: By task, where it is another.
        long_epochs: In Table III, by task, where it is another.
        batch_size: Samples in a batch.
        batch_sizes: By task, where it is another: few samples need smaller batches to learn in few epochs.
        lr: Learning rate of Adam.
        task_lr: By task, where it is another.
        calibrated: Tasks (of sound: and layouts) whose weights start calibrated under all rules, not only OutputOnly.
        schedule: "constant", or "cosine" down to 0.
        train: Training samples at most.
        test: Test samples at most.
        networks: Other networks than the task's own, by task and, for sound, layout.
        steps: Time steps T by task, other than the task's own.
        fig8_steps: Numbers of time steps of Fig. 8, other than the slot's.
        seeds: Seeds a mean is taken over.
        task_seeds: By task, where it is another.
        depths: Numbers of layers of Table I.
        repeats: Timed repetitions of Table I.
        checkpoints: Whether a training that is interrupted goes on from its last epoch.
    """

    name: str
    epochs: int
    task_epochs: Mapping[str, int] = field(default_factory=dict)
    long_epochs: Mapping[str, int] = field(default_factory=dict)
    batch_size: int = 50
    batch_sizes: Mapping[str, int] = field(default_factory=dict)
    lr: float = 1e-4
    task_lr: Mapping[str, float] = field(default_factory=dict)
    calibrated: Collection[str] = ()
    schedule: str = "constant"
    train: int | None = None
    test: int | None = None
    networks: Mapping[str, str] = field(default_factory=dict)
    steps: Mapping[str, int] = field(default_factory=dict)
    fig8_steps: Sequence[int] | None = None
    seeds: int = 3
    task_seeds: Mapping[str, int] = field(default_factory=dict)
    depths: Sequence[int] = (1, 2, 4, 8, 16)
    repeats: int = 10
    checkpoints: bool = True


DIGITS = {"digits": "Conv3x3x28-S2-FC300-FC10"}  # the paper's network for MNIST, on 8x8 pixels
BUDGETS = {
    "quick": Budget(
        "quick",
        epochs=8,
        lr=1e-3,
        calibrated=("tidigits 1d", "fsdd 1d"),
        schedule="cosine",
        train=1000,
        test=500,
        networks=DIGITS
        | {
            "mnist": "Conv5x5x12-S2-FC300-FC10",
            "cifar10": "Conv5x5x12-S2-FC300-FC10",
            "tidigits 1d": "Conv1x3x30-FC300-FC10",
            "tidigits 2d": "Conv5x5x12-S2-FC300-FC10",
            "fsdd 1d": "Conv1x3x30-FC300-FC10",
            "fsdd 2d": "Conv5x5x12-S2-FC300-FC10",
            "dvsgesture": "Conv5x5x12-S2-FC300-FC11",
            "nmnist": "Conv5x5x12-S2-FC300-FC10",
        },
        batch_sizes={"dvsgesture": 10, "nmnist": 20},
        steps={"cifar10": 10, "dvsgesture": 20, "nmnist": 15},
        fig8_steps=(10, 20, 30),
        depths=(1, 2, 4, 8),
        repeats=5,
        checkpoints=False,
    ),
    "cpu": Budget(  # the tasks' own networks on all the data, as many epochs as an hour or two allows
        "cpu",
        epochs=6,
        task_epochs={"mnist": 1, "cifar10": 1},
        lr=1e-3,
        networks=DIGITS,
        task_lr={"cifar10": 3e-4},  # at 1e-3 the network falls silent under pseudo-BP
        calibrated=("tidigits 1d", "fsdd 1d"),
        schedule="cosine",
        batch_sizes={"digits": 20, "tidigits": 20, "fsdd": 20, "dvsgesture": 10, "nmnist": 20},
        steps={"cifar10": 10, "dvsgesture": 20, "nmnist": 15},
        fig8_steps=(10, 20, 30),
        task_seeds={"mnist": 1, "cifar10": 1},
    ),
    "full": Budget(
        "full",
        epochs=100,
        networks=DIGITS,
        long_epochs={  # "more for the others": twice as many, of sets that are small
            **dict.fromkeys(("mnist", "digits", "cifar10"), 400),
            **dict.fromkeys(("tidigits", "fsdd", "dvsgesture", "nmnist"), 800),
        },
    ),
}
