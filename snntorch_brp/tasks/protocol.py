"""What a task's record says about the figures' budgets and about the label-only study."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from torch import Tensor

BUDGETS = ("quick", "short", "paper")
"""Names of the budgets; what each of them means stands in :mod:`snntorch_brp.paper.budgets`."""


@dataclass(frozen=True, kw_only=True)
class Override:
    """What a budget does otherwise on one task; None leaves the budget's (or the task's) own value.

    Attributes:
        epochs: Passes over the training set.
        long_epochs: Passes in Table III.
        batch_size: Samples in a batch: few samples need small batches to learn in few epochs.
        lr: Learning rate of Adam.
        network: The network, in the paper's notation.
        steps: Time steps T.
        seeds: Seeds that a mean is taken over.
        calibrated: Whether weights start calibrated under all rules, not only under those that need it.
    """

    epochs: int | None = None
    long_epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    network: str | None = None
    steps: int | None = None
    seeds: int | None = None
    calibrated: bool = False

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, int | float) and not isinstance(value, bool) and not value > 0:
                raise ValueError(f"{entry.name} of a budget must be above 0, got {value!r}")


def check_budgets(budgets: Mapping[str, Override], title: str) -> None:
    """Raise a ValueError if a key is no budget's name, or a value no :class:`Override`."""
    for name, override in budgets.items():
        if name not in BUDGETS:
            raise ValueError(f"{title}: there is no budget {name!r}; there are {', '.join(BUDGETS)}")
        if not isinstance(override, Override):
            raise ValueError(f"{title}: budgets[{name!r}] must be an Override, got {override!r}")


@dataclass(frozen=True, kw_only=True)
class FrozenConv:
    """The convolution whose spikes all rules of the label-only study are trained on; it never learns.

    Attributes:
        channels: Number of filters.
        kernel: Their (odd) height and width.
        pool: Size and stride of the average pooling of its spikes.

    Raises:
        ValueError: If a size cannot be.
    """

    channels: int
    kernel: int
    pool: int

    def __post_init__(self) -> None:
        if min(self.channels, self.kernel, self.pool) < 1 or self.kernel % 2 == 0:
            raise ValueError(f"a frozen convolution has positive sizes and an odd kernel, got {self}")

    def __str__(self) -> str:
        """In the paper's notation."""
        return f"Conv{self.kernel}x{self.kernel}x{self.channels}-S{self.pool}"


Speakers = Callable[[Path], tuple[Tensor, Tensor, list[str]]]
"""Reads samples ``[N, *]``, labels ``[N]`` and the speaker of each from a folder."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Settings of the label-only study on one task.

    Attributes:
        conv: The frozen convolution.
        epochs: Passes over the training set, of trainings whose test accuracy is reported.
        steps: Time steps T.
        hidden: Hidden neurons of the trained layers behind the convolution.
        batch_size: Samples in a batch.
        speakers: Reads samples with their speakers, each of whom is the test set in turn; None uses the data set's own
            test set.
    """

    conv: FrozenConv
    epochs: int
    steps: int = 6
    hidden: int = 1000
    batch_size: int = 50
    speakers: Speakers | None = None

    def __post_init__(self) -> None:
        if min(self.epochs, self.steps, self.hidden, self.batch_size) < 1:
            raise ValueError(f"epochs, steps, hidden and batch_size must be at least 1, got {self}")
