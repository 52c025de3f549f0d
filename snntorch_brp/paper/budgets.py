"""How much training a figure is given; what a task does otherwise stands in its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from snntorch_brp.runs.config import SCHEDULES
from snntorch_brp.tasks.protocol import BUDGETS as NAMES


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much training a figure is given.

    Attributes:
        name: One of the budgets' names, by which tasks have overrides.
        about: What it is, for ``--help``.
        epochs: Passes over the training set.
        batch_size: Samples in a batch.
        lr: Learning rate of Adam.
        schedule: Name of the learning rate's schedule.
        train: Training samples at most.
        test: Test samples at most.
        seeds: Seeds that a mean is taken over.
        same_seeds: Whether tasks that have a number of seeds of their own follow ``seeds`` all the same.
        same_epochs: The same of ``epochs``, and of Table III's longer trainings.
        checkpoints: Whether a training that is interrupted goes on from its last epoch.
        small_study: Whether the label-only study uses small networks and few epochs.
        fig8_steps: Numbers of time steps of Fig. 8, other than the data set's.
        depths: Numbers of hidden layers of Table I.
        repeats: Timed repetitions of Table I.
    """

    name: str
    about: str
    epochs: int
    batch_size: int = 50
    lr: float = 1e-4
    schedule: str = "constant"
    train: int | None = None
    test: int | None = None
    seeds: int = 3
    same_seeds: bool = False
    same_epochs: bool = False
    checkpoints: bool = True
    small_study: bool = False
    fig8_steps: Sequence[int] | None = None
    depths: Sequence[int] = (1, 2, 4, 8, 16)
    repeats: int = 10

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(f"there is no budget {self.name!r}; there are {', '.join(NAMES)}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"budget {self.name}: there is no schedule {self.schedule!r}; there are {list(SCHEDULES)}")


QUICK = Budget(
    name="quick",
    about="small networks and at most 1,000 training samples, 8 epochs",
    epochs=8,
    lr=1e-3,
    schedule="cosine",
    train=1000,
    test=500,
    checkpoints=False,
    small_study=True,
    fig8_steps=(10, 20, 30),
    depths=(1, 2, 4, 8),
    repeats=5,
)
SHORT = Budget(
    name="short",
    about="all the data on the tasks' own networks, in 6 epochs (1 of the large image sets)",
    epochs=6,
    lr=1e-3,
    schedule="cosine",
    fig8_steps=(10, 20, 30),
)
PAPER = Budget(name="paper", about="the paper's setting, 100 epochs", epochs=100)

BUDGETS: dict[str, Budget] = {budget.name: budget for budget in (QUICK, SHORT, PAPER)}
TIMES = (
    "How long: one training under BRP takes about, in processor time of one core (measured over an epoch, on a busy "
    "machine), under the budget paper 2 minutes for the 8x8 digits, 12 for spoken digits in either layout, 35 for 800 "
    "recordings of N-MNIST; under short a sixteenth of that. Estimates: MNIST 3 minutes an epoch, CIFAR-10 6. Of such "
    "trainings, for each data set and seed, fig6 takes 6, fig8 2 for each T, fig9 1, settings 25, and table3 2 that "
    "are 4 to 8 times as long under the budget paper. A training that is stopped goes on from its last epoch; --epochs "
    "and --seeds shorten."
)
"""What a training costs, for ``--help``."""
OLD_NAMES: Mapping[str, str] = {"cpu": "short", "full": "paper"}
"""Names that two of the budgets had before."""
