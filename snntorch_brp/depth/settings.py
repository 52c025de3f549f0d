"""How each task is trained in the study of depth, by budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from snntorch_brp.data.augment import AUGMENTATIONS
from snntorch_brp.models import network
from snntorch_brp.neurons import RefractoryLeaky
from snntorch_brp.surrogate import boxcar


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A network and its training.

    Attributes:
        network: In the paper's notation; its last layer has several neurons a class, whose mean is the class's rate.
        epochs: Passes over the training part, of the rule that the trials choose.
        trial_samples: Training samples of a trial.
        trial_epochs: Its passes over them.
        steps: Time steps T.
        batch_size: Samples in a batch.
        lr: Learning rate of Adam at the start; it falls along a cosine.
        augment: Name of what is done to the images; None for nothing.
        validation: Part of the training data that choices are made by.
        wide: Filters of the wide frozen convolution that stands beside.
        temperature: Of the output: its loss is the cross-entropy of the softmax of so many times the rates.
        frozen: The first convolution stands still, and what it fires is kept (:mod:`snntorch_brp.depth.front`).
        mirrored: Where it does: learn from the mirror image of every image, too.
        flat: What stands behind the frozen convolution in the place of others, for comparison; None for nothing.
        levers: Changes that are tried one at a time, each by what tables call it: fields of a setting.

    Raises:
        ValueError: If there is no such augmentation.
    """

    network: str
    epochs: int
    trial_samples: int
    trial_epochs: int
    steps: int = 2
    batch_size: int = 100
    lr: float = 2e-3
    augment: str | None = None
    validation: float = 0.1
    wide: int = 256
    temperature: float = 10.0
    frozen: bool = False
    mirrored: bool = False
    flat: str | None = None
    levers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.augment is not None and self.augment not in AUGMENTATIONS:
            raise ValueError(f"there is no augmentation {self.augment!r}; there are {', '.join(AUGMENTATIONS)}")
        for words in self.levers:
            self.changed(words)  # raises now, not in training
        if (self.mirrored or self.flat) and not self.frozen:
            raise ValueError("mirrored and flat go with a frozen first convolution")
        if self.frozen and self.augment:
            raise ValueError("what a frozen convolution fires is kept, so that images cannot be augmented")

    def changed(self, words: str) -> Setting:
        """The setting with one of its levers pulled."""
        return replace(self, levers={}, **self.levers[words])

    def net(self, input_shape: tuple[int, ...], *, flat: bool = False) -> nn.Sequential:
        """The network, freshly drawn. Normalized currents have a standard deviation of one threshold.

        Args:
            input_shape: Shape of one sample at one step.
            flat: The network without convolutions behind the first.
        """
        net = network(self.flat if flat and self.flat else self.network, input_shape, neuron=neuron)
        net[-1] = neuron(half_width=2.0)  # an output far below its threshold must hear of it
        return net


def neuron(*, half_width: float = 1.0) -> RefractoryLeaky:
    """The paper's neuron, with a slower decay because there are few steps, and a threshold of 1.

    Args:
        half_width: Of the boxcar pseudo-gradient around the threshold.
    """
    return RefractoryLeaky(beta=0.5, threshold=1.0, init_hidden=True, spike_grad=boxcar(half_width))


_SQUARES = "Conv3x3x8-BN-M2-Conv3x3x16-BN-M2-FC50-BN"
_DIGITS = {
    "quick": Setting(network=_SQUARES, epochs=3, trial_samples=300, trial_epochs=1, batch_size=25, wide=16),
    "short": Setting(network=_SQUARES, epochs=20, trial_samples=1000, trial_epochs=5, batch_size=25),
    "paper": Setting(network=_SQUARES, epochs=50, trial_samples=1000, trial_epochs=10, batch_size=25),
}
_MNIST = "Conv5x5x32-BN-M2-Conv3x3x64-BN-M2-Conv3x3x64-BN-FC200-BN"
_MNISTS = {
    "quick": Setting(network=_SQUARES, epochs=3, trial_samples=300, trial_epochs=1, batch_size=25, wide=16),
    "short": Setting(network=_MNIST, epochs=3, trial_samples=3000, trial_epochs=2, augment="crop"),
    "paper": Setting(network=_MNIST, epochs=30, trial_samples=10_000, trial_epochs=5, augment="crop"),
}
_EYE = "Conv5x5x256-BN-M4"
_LEVERS: Mapping[str, Mapping[str, Any]] = {
    "the first convolution learns, too (crops and flips)": {
        "frozen": False,
        "mirrored": False,
        "flat": None,
        "augment": "crop-flip",
        "trial_epochs": 2,  # as many images: there are no mirror images beside them
    },
    "half the filters in the first layer": {"network": "Conv5x5x128-BN-M4-Conv3x3x192-BN-M2-Conv3x3x256-BN-FC200-BN"},
    "twice the images": {"trial_samples": 20_000},
    "twice the epochs": {"trial_epochs": 2},
    "a convolution more": {
        "network": f"{_EYE}-Conv3x3x192-BN-M2-Conv3x3x256-BN-Conv3x3x256-BN-FC200-BN",
    },
    "a convolution less": {"network": f"{_EYE}-Conv3x3x192-BN-M2-FC200-BN"},
    "T = 4": {"steps": 4},
    "batches of 50": {"batch_size": 50},
}
SETTINGS: Mapping[str, Mapping[str, Setting]] = {
    "cifar10": {
        "quick": Setting(
            network="Conv3x3x16-BN-M2-Conv3x3x32-BN-M2-FC100-BN",
            epochs=3,
            trial_samples=500,
            trial_epochs=1,
            batch_size=25,
            augment="crop-flip",
            wide=16,
        ),
        "short": Setting(
            network="Conv5x5x96-BN-M4-Conv3x3x128-BN-M2-Conv3x3x192-BN-FC200-BN",
            epochs=6,
            trial_samples=10_000,
            trial_epochs=3,
            augment="crop-flip",
        ),
        "paper": Setting(
            network="Conv5x5x256-BN-M4-Conv3x3x192-BN-M2-Conv3x3x256-BN-FC200-BN",
            epochs=5,
            trial_samples=10_000,
            trial_epochs=1,
            wide=512,
            frozen=True,
            mirrored=True,
            flat="Conv5x5x256-BN-M4-FC1000-BN-FC200-BN",
            levers=_LEVERS,
        ),
    },
    "mnist": _MNISTS,
    "fashion-mnist": _MNISTS,
    "digits": _DIGITS,
}
"""By task and by budget."""
