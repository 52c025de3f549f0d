"""Image tasks: scikit-learn's digits, MNIST, Fashion-MNIST and CIFAR-10."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from torch.utils.data import TensorDataset

from snntorch_brp.data.check import check_cifar10, check_idx
from snntorch_brp.data.cifar import CIFAR10_CLASSES, load_cifar10
from snntorch_brp.data.images import FASHION_CLASSES, load_digits, load_mnist
from snntorch_brp.tasks.base import Files, Task, TrainTest
from snntorch_brp.tasks.draw import image_pictures
from snntorch_brp.tasks.protocol import FrozenConv, Override, Protocol

DIGITS_NAMES = tuple(f"digit {digit}" for digit in range(10))
OWN_SPLIT = "its own test set"
QUICK_CONV = "Conv5x5x12-S2-FC300-FC10"  # of --budget quick


def _digits(root: Path | None, *, train: bool) -> TensorDataset:
    return load_digits(train=train)


def _mnist(root: Path | None, *, train: bool, name: str) -> TensorDataset:
    assert root is not None
    return load_mnist(root, train=train, name=name)


def _cifar10(root: Path | None, *, train: bool) -> TensorDataset:
    assert root is not None
    return load_cifar10(root, train=train)


def _both(root: Path | None, *, load: Callable[..., TensorDataset], split: str) -> TrainTest:
    return TrainTest(load(root, train=True), load(root, train=False), split)


def _drawn(title: str, load: Callable[..., TensorDataset], classes: Sequence[str]) -> Callable[..., list]:
    return partial(image_pictures, title=title, load=partial(load, train=False), classes=classes)


DIGITS = Task(
    title="1,797 handwritten digits, 8x8 (scikit-learn), random 80/20 split",
    short_title="scikit-learn's 8x8 digits",
    load=partial(_both, load=_digits, split="random 80/20 split, seed 0"),
    files=None,
    input_shape=(1, 8, 8),
    num_classes=10,
    # the last four chosen on a fifth of the training part, held out
    network="64-2000-10",
    steps=20,
    epochs=40,
    lr=1e-3,
    draw=_drawn("digits", _digits, DIGITS_NAMES),
    stands_in_for="mnist",
    budgets={  # the paper's network for MNIST, on 8x8 pixels
        "quick": Override(network="Conv3x3x28-S2-FC300-FC10"),
        "short": Override(network="Conv3x3x28-S2-FC300-FC10", batch_size=20),
        "paper": Override(network="Conv3x3x28-S2-FC300-FC10", long_epochs=400),
    },
    label_only=Protocol(conv=FrozenConv(channels=32, kernel=3, pool=2), epochs=12, hidden=300),
)


def _idx(name: str, title: str, classes: Sequence[str], *, files: Files, stands_in_for: str | None = None) -> Task:
    """A task in MNIST's format, on the paper's network for MNIST."""
    load = partial(_mnist, name=name)
    return Task(
        title=f"{title}, 60,000 training and 10,000 test images",
        short_title=title,
        load=partial(_both, load=load, split=OWN_SPLIT),
        files=files,
        input_shape=(1, 28, 28),
        num_classes=10,
        network="Conv5x5x28-S2-FC1000-FC10",
        steps=20,
        epochs=1,
        draw=_drawn(name, load, classes),
        stands_in_for=stands_in_for,
        budgets={
            "quick": Override(network=QUICK_CONV),
            "short": Override(epochs=1, seeds=1),
            "paper": Override(long_epochs=400),
        },
        label_only=Protocol(conv=FrozenConv(channels=256, kernel=7, pool=7), epochs=6, batch_size=100),
    )


IDX = "*-idx?-ubyte*"
MNIST = _idx(
    "mnist",
    "MNIST",
    DIGITS_NAMES,
    files=Files(
        pattern=IDX,
        check=partial(check_idx, name="mnist", title="MNIST or a set in its format (IDX)", classes="0123456789"),
        folder_lacks="fashion",
    ),
)
FASHION_MNIST = _idx(
    "fashion-mnist",
    "Fashion-MNIST",
    FASHION_CLASSES,
    files=Files(
        pattern=IDX,
        check=partial(check_idx, name="fashion-mnist", title="Fashion-MNIST", classes=FASHION_CLASSES),
        folder_has="fashion",
    ),
    stands_in_for="mnist",
)
CIFAR10 = Task(
    title="CIFAR-10, 50,000 training and 10,000 test images",
    short_title="CIFAR-10",
    load=partial(_both, load=_cifar10, split=OWN_SPLIT),
    files=Files(pattern="[dt][ae][ts][at]_batch*", check=check_cifar10),  # data_batch_1 ... test_batch
    input_shape=(3, 32, 32),
    num_classes=10,
    network="Conv5x5x32-S2-FC1000-FC10",
    steps=20,
    epochs=5,
    draw=_drawn("cifar10", _cifar10, CIFAR10_CLASSES),
    budgets={
        "quick": Override(network=QUICK_CONV, steps=10),
        "short": Override(epochs=1, lr=3e-4, steps=10, seeds=1),  # at 1e-3 pseudo-BP silences the network
        "paper": Override(long_epochs=400),
    },
    label_only=Protocol(conv=FrozenConv(channels=128, kernel=5, pool=8), epochs=10, batch_size=100),
)
