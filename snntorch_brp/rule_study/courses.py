"""The courses of the study: a task, a network, and how many steps; alike for all rules."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import snntorch as snn
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from snntorch_brp.data.loader import head
from snntorch_brp.initialization import calibrate
from snntorch_brp.runs.holdout import hold_back
from snntorch_brp.tasks.registry import TASKS

VALIDATION = 0.2  # of the training samples
CALIBRATION_SAMPLES = 50


@dataclass(frozen=True, kw_only=True)
class Course:
    """What every rule is trained on.

    Attributes:
        name: In the store and the table.
        task: Name of the task.
        steps: Time steps T.
        network: Its layers in words.
        widths: Neurons of the hidden layers.
        neuron: Makes the neurons of a layer, from their number and whether they are the output.
        bias: Whether synapses have biases.
        options: Of the task.
        quick: Training and test samples of --budget quick.
    """

    name: str
    task: str
    steps: int
    network: str
    widths: Sequence[int]
    neuron: Callable[[int, bool], nn.Module]
    bias: bool = True
    options: Mapping[str, str | None] = field(default_factory=dict)
    quick: tuple[int, int] = (800, 500)

    def net(self, inputs: int, classes: int) -> nn.Sequential:
        """The network, as torch draws it; ``classes`` 0 leaves the output out."""
        layers: list[nn.Module] = [nn.Flatten()]
        widths = [*self.widths, classes] if classes else list(self.widths)
        for place, width in enumerate(widths):
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
COURSES = (
    Course(name="mnist", task="mnist", steps=8, network=PEERS, widths=(256,), neuron=peers_neuron, bias=False),
    Course(name="nmnist", task="nmnist", steps=8, network=PEERS, widths=(256,), neuron=peers_neuron, bias=False),
    Course(
        name="speech", task="fsdd", steps=16, network="FC{inputs}-150-150-{classes}, snn.Leaky(0.9)",
        widths=(150, 150), neuron=leaky, options={"layout": "1d"},
    ),
    Course(
        name="memory", task="memory", steps=12, network="FC{inputs}-64-{classes}, hidden snn.RLeaky(0.9)",
        widths=(64,), neuron=recurrent, quick=(2000, 500),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Data:
    """A course's data, in three parts.

    Attributes:
        split: How they were split.
        encoder: Samples ``[B, *]`` to spikes ``[T, B, *]``, which draws from torch's generator.
        inputs: Number of inputs.
        classes: Number of classes K.
        learn: What is trained on.
        validation: What chooses.
        test: What is reported.
    """

    split: str
    encoder: Callable[[Tensor], Tensor]
    inputs: int
    classes: int
    learn: TensorDataset
    validation: TensorDataset
    test: TensorDataset


def data_of(course: Course, root: Path | None, *, train: int | None, test: int | None, device: str) -> Data:
    """Load a course's data.

    Args:
        course: The course.
        root: Folder of its task's data; None where the task needs none.
        train: Training samples at most, the validation part included.
        test: Test samples at most.
        device: Where encoding is done.
    """
    task = TASKS[course.task].configured(steps=course.steps, device=device, options=course.options)
    sets = task.load(root)
    sets = sets._replace(train=head(sets.train, train), test=head(sets.test, test), groups=None)
    sets = hold_back(sets, VALIDATION, seed=0)
    parts = (sets.train, sets.validation, sets.test)
    if not all(isinstance(part, TensorDataset) for part in parts):
        raise ValueError(f"the study of rules takes whole tensors, and the task {course.task!r} loads another data set")
    encoder = sets.encoder or task.encoder(course.steps, task.alpha)
    return Data(
        sets.split,
        lambda samples: encoder(samples).flatten(2),
        math.prod(task.input_shape),
        task.num_classes,
        *parts,  # type: ignore[arg-type]
    )


def start(net: nn.Sequential, spikes: Tensor) -> None:
    """Scale the first weights so that every layer fires, on samples without their labels.

    Recurrent layers, which :func:`calibrate` does not know, keep the weights that torch has drawn, those from the input
    twice and those within half as large.
    """
    recurrent_layers = [module for module in net if isinstance(module, snn.RLeaky)]
    if not recurrent_layers:
        calibrate(net, spikes, mean=0.2, std=0.6)
        return
    with torch.no_grad():
        next(module for module in net if isinstance(module, nn.Linear)).weight.mul_(2)
        for module in recurrent_layers:
            module.recurrent.weight.mul_(0.5)
