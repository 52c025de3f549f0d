"""A task, a rule, a consolidation and a model of a user's own, as they stand in a file outside the package."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.data import TensorDataset

from snntorch_brp import Consolidation, Propagation, RefractoryLeaky
from snntorch_brp.consolidation import Gradients
from snntorch_brp.tasks.base import Task, TrainTest


def _stripes(count: int, *, seed: int) -> TensorDataset:
    """Images of three stripes across (class 0) or along (class 1)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    images = torch.rand(count, 1, 6, 6, generator=generator) * 0.3
    images[labels == 0, :, ::2] += 0.7
    images[labels == 1, :, :, ::2] += 0.7
    return TensorDataset(images, labels)


def _load(root: object) -> TrainTest:
    return TrainTest(_stripes(60, seed=0), _stripes(40, seed=1), "drawn anew, seed 1")


STRIPES = Task(
    title="Stripes across and along, 6x6",
    short_title="stripes",
    load=_load,
    files=None,
    input_shape=(1, 6, 6),
    num_classes=2,
    network="36-20-2",
    steps=5,
    epochs=2,
    batch_size=10,
    draw=None,
    label_only=None,
)


class Perceptron(Propagation):
    """The perceptron's rule on each layer's own reading of the reward."""

    def signal(self, label, *, window, feedback, output):
        reading = window.rate.flatten(1) @ feedback.flatten(1).T
        return nn.functional.one_hot(reading.argmax(1), reading.shape[1]) - label


class LateHalf(Consolidation):
    """The second half of the sequence alone teaches."""

    def gradients(self, delta, window):
        late = torch.arange(window.steps) >= window.steps // 2
        return Gradients(spikes=delta * late.view(-1, *[1] * (delta.dim() - 1)))


def small_net(*, input_shape: tuple[int, ...], num_classes: int) -> nn.Sequential:
    """A network with neurons of its own choice, which the paper's notation cannot write."""
    inputs = torch.Size(input_shape).numel()
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, 16),
        RefractoryLeaky(beta=0.5, threshold=0.5, init_hidden=True),
        nn.Linear(16, num_classes),
        RefractoryLeaky(beta=0.5, threshold=0.5, init_hidden=True),
    )


def no_module(*, input_shape: tuple[int, ...], num_classes: int) -> str:
    return "a text"
