"""What a task is: a data set, and what the paper trains on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from torch import Tensor
from torch.utils.data import Dataset

from snntorch_brp.encoding import RateEncoder


class Sets(NamedTuple):
    """A training and a test set.

    Attributes:
        train: The training set.
        test: The test set.
        split: How the two were parted, to be told beside every accuracy.
        encoder: Takes the place of the task's, where the data brings its own.
        validation: Held back from the training set, where something is.
        groups: Number of the speaker of each training sample, where the split is by speaker.
    """

    train: Dataset
    test: Dataset
    split: str
    encoder: Callable[[Tensor], Tensor] | None = None
    validation: Dataset | None = None
    groups: Tensor | None = None

    @property
    def note(self) -> str:
        """What must stand before every title: that the data is simulated, where it is."""
        return "simulated: " if self.split.startswith("simulated") else ""


@dataclass(frozen=True)
class Option:
    """Something that the user may choose for one task: its default, the choices (any text where empty), what it is."""

    default: str | None
    choices: tuple[str, ...]
    help: str


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
        rate_coded: Whether α matters: not for recordings that are spikes already.
        options: What the user may choose besides, by name.
        configure: Makes this task with other options, from keyword arguments: ``steps``, ``device`` and the options.
    """

    title: str
    load: Callable[[Path | None], Sets]
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
    rate_coded: bool = True
    options: Mapping[str, Option] = field(default_factory=dict)
    configure: Callable[..., Task] | None = None

    def configured(self, *, steps: int, device: str, options: Mapping[str, str | None]) -> Task:
        """This task as the user wants it.

        Raises:
            ValueError: If there is no such option.
        """
        unknown = sorted(set(options) - set(self.options))
        if unknown:
            raise ValueError(f"{self.title} has no option {unknown[0]!r}; it has: {', '.join(self.options) or 'none'}")
        return self if self.configure is None else self.configure(steps=steps, device=device, **options)
