"""The courses of the study: a task, a network, and how many steps; alike for all rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import snntorch as snn
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from snntorch_brp.data.loader import head
from snntorch_brp.runs.holdout import hold_back
from snntorch_brp.tasks.registry import TASKS

VALIDATION = 0.2  # of the training samples
CALIBRATION_SAMPLES = 50


@dataclass(frozen=True)
class Amount:
    """How much is trained.

    Attributes:
        epochs: Passes over the training samples.
        batch_size: Samples in a batch.
        train: Training samples at most, the validation part included.
        test: Test samples at most.
    """

    epochs: int
    batch_size: int
    train: int | None = None
    test: int | None = None


@dataclass(frozen=True, kw_only=True)
class Course:
    """What every rule is trained on.

    Attributes:
        name: In the store and the table.
        task: Name of the task.
        steps: Time steps T.
        network: Its layers in words.
        channels: Of 5x5 convolutions, each with a maximum over 2x2 places behind it; none where samples are flat.
        widths: Neurons of the fully connected hidden layers.
        neuron: Makes the neurons of a layer, from their number and whether they are the output.
        bias: Whether synapses have biases.
        options: Of the task.
        rates: Learning rates of the hidden layers, of which validation chooses.
        output_lr: Learning rate of the output, under all rules.
        quick: How much is trained under --budget quick.
    """

    name: str
    task: str
    steps: int
    network: str
    channels: Sequence[int] = ()
    widths: Sequence[int] = ()
    neuron: Callable[[int, bool], nn.Module]
    bias: bool = True
    options: Mapping[str, str | None] = field(default_factory=dict)
    rates: Sequence[float] = (3e-4, 1e-3)
    output_lr: float = 1e-3
    quick: Amount

    @property
    def depth(self) -> int:
        """Number of hidden layers."""
        return len(self.channels) + len(self.widths)

    def net(self, shape: Sequence[int], classes: int) -> nn.Sequential:
        """The network for samples of a ``shape``, as torch draws it; ``classes`` 0 leaves the output out."""
        layers: list[nn.Module] = []
        for channels in self.channels:
            conv = nn.Conv2d(shape[0], channels, 5, bias=self.bias)
            layers += [conv, nn.MaxPool2d(2), self.neuron(channels, False)]
            shape = (channels, *((side - 4) // 2 for side in shape[1:]))
        layers.append(nn.Flatten())
        inputs = math.prod(shape)
        for place, width in enumerate([*self.widths, classes] if classes else self.widths):
            layers += [nn.Linear(inputs, width, bias=self.bias), self.neuron(width, place == len(self.widths))]
            inputs = width
        return nn.Sequential(*layers)


def peers_neuron(width: int, is_output: bool) -> nn.Module:
    """The neuron of NeuroTrain's fully connected network: decay 0.9, threshold 1, fast sigmoid of slope 25."""
    return snn.Leaky(0.9, threshold=1.0, spike_grad=snn.surrogate.fast_sigmoid(slope=25), init_hidden=True)


def leaky(width: int, is_output: bool) -> nn.Module:
    """The leaky neuron as snnTorch has it, of decay 0.9."""
    return snn.Leaky(0.9, init_hidden=True)


def recurrent(width: int, is_output: bool) -> nn.Module:
    """The same, hidden layers with connections within."""
    return leaky(width, True) if is_output else snn.RLeaky(0.9, linear_features=width, init_hidden=True)


PEERS = "FC{inputs}-256-{classes} of NeuroTrain: snn.Leaky(0.9), fast sigmoid, no biases"
PEERS_CONV = "12C5-P2-32C5-P2-FC{classes} of NeuroTrain, neurons as in its FC network"
RECURRENT = "FC{{inputs}}-{width}-{{classes}}, hidden snn.RLeaky(0.9)"
COURSES = (
    Course(
        name="mnist", task="mnist", steps=8, network=PEERS, widths=(256,), neuron=peers_neuron, bias=False,
        quick=Amount(5, 20, train=4000, test=1000),
    ),
    Course(
        name="nmnist", task="nmnist", steps=8, network=PEERS, widths=(256,), neuron=peers_neuron, bias=False,
        quick=Amount(12, 20, train=800, test=500),
    ),
    Course(
        name="memory", task="memory", steps=12, network=RECURRENT.format(width=64), widths=(64,), neuron=recurrent,
        rates=(1e-3, 3e-3), output_lr=3e-3, quick=Amount(6, 20, train=2000, test=1000),
    ),
    Course(
        name="speech", task="fsdd", steps=16, network=RECURRENT.format(width=128), widths=(128,), neuron=recurrent,
        options={"layout": "1d"}, rates=(1e-3, 3e-3), output_lr=3e-3, quick=Amount(8, 20, train=2000, test=500),
    ),
    Course(
        name="mnist-conv", task="mnist", steps=8, network=PEERS_CONV, channels=(12, 32), neuron=peers_neuron,
        bias=False, quick=Amount(3, 20, train=2000, test=500),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Data:
    """A course's data, in three parts.

    Attributes:
        split: How they were split.
        encoder: Samples ``[B, *]`` to spikes ``[T, B, *]``, which draws from torch's generator.
        shape: Of a sample at one step; flat, unless the network convolves.
        classes: Number of classes K.
        learn: What is trained on.
        validation: What chooses.
        test: What is reported.
    """

    split: str
    encoder: Callable[[Tensor], Tensor]
    shape: tuple[int, ...]
    classes: int
    learn: TensorDataset
    validation: TensorDataset
    test: TensorDataset


def data_of(course: Course, root: Path | None, amount: Amount, *, device: str) -> Data:
    """Load a course's data.

    Args:
        course: The course.
        root: Folder of its task's data; None where the task needs none.
        amount: How much of it.
        device: Where encoding is done.
    """
    task = TASKS[course.task].configured(steps=course.steps, device=device, options=course.options)
    sets = task.load(root)
    sets = sets._replace(train=head(sets.train, amount.train), test=head(sets.test, amount.test), groups=None)
    sets = hold_back(sets, VALIDATION, seed=0)
    parts = (sets.train, sets.validation, sets.test)
    if not all(isinstance(part, TensorDataset) for part in parts):
        raise ValueError(f"the study of rules takes whole tensors, and the task {course.task!r} loads another data set")
    encoder = sets.encoder or task.encoder(course.steps, task.alpha)
    shape = task.input_shape if course.channels else (math.prod(task.input_shape),)
    return Data(
        sets.split,
        lambda samples: encoder(samples).flatten(2).unflatten(2, shape),
        shape,
        task.num_classes,
        *parts,  # type: ignore[arg-type]
    )
