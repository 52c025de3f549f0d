"""The tasks by name: data set, the paper's network for it, and the settings it is trained with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor
from torch.utils.data import Dataset

from snntorch_brp.data.images import load_digits, load_mnist
from snntorch_brp.encoding import RateEncoder


@dataclass(frozen=True)
class Task:
    """A data set, and what the paper trains on it.

    Attributes:
        title: What the data is, in a few words.
        load: The training and the test set, from the folder that the user names (None where none is needed).
        encoder: Makes the encoder from the number of time steps and α.
        input_shape: Shape of one sample at one step.
        num_classes: Number of classes K.
        network: The network, in the paper's notation.
        steps: Time steps T.
        alpha: α of eq. 3.
        epochs: Epochs that give a fair result in short time.
        lr: Learning rate of Adam.
        batch_size: Samples in a batch.
        needs_data: Whether the user must name a folder.
    """

    title: str
    load: Callable[[Path | None], tuple[Dataset, Dataset]]
    input_shape: tuple[int, ...]
    num_classes: int
    network: str
    steps: int
    epochs: int
    alpha: float = 1.0
    lr: float = 1e-3
    batch_size: int = 50
    needs_data: bool = True
    encoder: Callable[[int, float], Callable[[Tensor], Tensor]] = RateEncoder


def _digits(root: Path | None) -> tuple[Dataset, Dataset]:
    return load_digits(train=True), load_digits(train=False)


def _mnist(root: Path | None, *, name: str) -> tuple[Dataset, Dataset]:
    assert root is not None
    return load_mnist(root, train=True, name=name), load_mnist(root, train=False, name=name)


TASKS: dict[str, Task] = {
    "digits": Task(
        title="1,797 handwritten digits, 8x8 (scikit-learn), random 80/20 split",
        load=_digits,
        input_shape=(1, 8, 8),
        num_classes=10,
        network="Conv3x3x28-S2-FC300-FC10",
        steps=20,
        epochs=12,
        needs_data=False,
    ),
    "mnist": Task(
        title="MNIST, 60,000 training and 10,000 test images",
        load=partial(_mnist, name="mnist"),
        input_shape=(1, 28, 28),
        num_classes=10,
        network="Conv5x5x28-S2-FC1000-FC10",
        steps=20,
        epochs=1,
    ),
    "fashion-mnist": Task(
        title="Fashion-MNIST, 60,000 training and 10,000 test images",
        load=partial(_mnist, name="fashion-mnist"),
        input_shape=(1, 28, 28),
        num_classes=10,
        network="Conv5x5x28-S2-FC1000-FC10",
        steps=20,
        epochs=1,
    ),
}
