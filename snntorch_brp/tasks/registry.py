"""The tasks by name: data set, the paper's network for it, and the settings it is trained with."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from snntorch_brp.data.cifar import load_cifar10
from snntorch_brp.data.images import load_digits, load_mnist
from snntorch_brp.tasks.base import Sets, Task
from snntorch_brp.tasks.events import DVSGESTURE, NMNIST
from snntorch_brp.tasks.speech import FSDD, TIDIGITS


def _digits(root: Path | None) -> Sets:
    return Sets(load_digits(train=True), load_digits(train=False), "random 80/20 split, seed 0")


def _mnist(root: Path | None, *, name: str) -> Sets:
    assert root is not None
    return Sets(load_mnist(root, train=True, name=name), load_mnist(root, train=False, name=name), "its own test set")


def _cifar10(root: Path | None) -> Sets:
    assert root is not None
    return Sets(load_cifar10(root, train=True), load_cifar10(root, train=False), "its own test set")


TASKS: dict[str, Task] = {
    "digits": Task(
        title="1,797 handwritten digits, 8x8 (scikit-learn), random 80/20 split",
        load=_digits,
        input_shape=(1, 8, 8),
        num_classes=10,
        # the last four chosen on a fifth of the training part, held out
        network="64-2000-10",
        steps=20,
        epochs=40,
        lr=1e-3,
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
    "cifar10": Task(
        title="CIFAR-10, 50,000 training and 10,000 test images",
        load=_cifar10,
        input_shape=(3, 32, 32),
        num_classes=10,
        network="Conv5x5x32-S2-FC1000-FC10",
        steps=20,
        epochs=5,
    ),
    "tidigits": TIDIGITS,
    "fsdd": FSDD,
    "dvsgesture": DVSGESTURE,
    "nmnist": NMNIST,
}
