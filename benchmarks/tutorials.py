"""snnTorch's own networks, in ``nn.Sequential`` form: their layers in their order, their neurons, steps and batches.

From snnTorch's documentation: the quickstart, tutorials 5, 6 and 7, and the network for ST-MNIST. Beside them deep ones
of its neurons: 3, 6 and 9 convolutions, each with a batch norm, a max-pooling behind every third of them. Weights of
convolutions without a norm are drawn four times and twice as large as PyTorch has them, so that hidden layers fire at
10 to 20 % of all steps, as trained ones may, and not hardly ever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import snntorch as snn
import torch
from snntorch import surrogate
from torch import Tensor, nn


@dataclass(frozen=True)
class Tutorial:
    """A network and what it is trained on.

    Attributes:
        network: Makes the network.
        shape: Shape of one sample.
        steps: Number of time steps T.
        batch: Samples in a batch.
        density: Share of inputs that are not 0.
        same_input: An image is shown at every step as it is, and not as spikes.
    """

    network: Callable[[], nn.Sequential]
    shape: tuple[int, ...]
    steps: int
    batch: int
    density: float
    same_input: bool

    def data(self) -> tuple[Tensor, Tensor]:
        """Random inputs ``[T, B, *]`` and labels ``[B]``."""
        generator = torch.Generator().manual_seed(0)
        labels = torch.arange(self.batch) % 10
        if not self.same_input:
            x = torch.rand(self.steps, self.batch, *self.shape, generator=generator) < self.density
            return x.float(), labels
        image = torch.rand(self.batch, *self.shape, generator=generator)
        image = image * (torch.rand(image.shape, generator=generator) < self.density)
        return image.expand(self.steps, *image.shape), labels


def convolutional(channels: tuple[int, int, int], features: int, neuron: Callable[[], nn.Module]) -> nn.Sequential:
    """Convolution, max-pooling, neuron, twice, and a linear layer."""
    first, second = (nn.Conv2d(c_in, c_out, 5) for c_in, c_out in pairwise(channels))
    with torch.no_grad():
        first.weight.mul_(4)
        second.weight.mul_(2)
    pools = nn.MaxPool2d(2), nn.MaxPool2d(2)
    output = nn.Flatten(), nn.Linear(features, 10), neuron()
    return nn.Sequential(first, pools[0], neuron(), second, pools[1], neuron(), *output)


def _fast() -> nn.Module:
    return snn.Leaky(0.5, spike_grad=surrogate.fast_sigmoid(slope=25), init_hidden=True)


def _atan() -> nn.Module:
    return snn.Leaky(0.5, spike_grad=surrogate.atan(), init_hidden=True)


def _dense() -> nn.Sequential:
    neurons = (snn.Leaky(0.95, init_hidden=True) for _ in range(2))
    return nn.Sequential(nn.Linear(784, 1000), next(neurons), nn.Linear(1000, 10), next(neurons))


def _st_mnist() -> nn.Sequential:
    first, second = nn.Conv2d(2, 32, 4), nn.Conv2d(32, 64, 3)
    with torch.no_grad():
        first.weight.mul_(4)
        second.weight.mul_(2)
    neurons = (snn.Leaky(0.95, init_hidden=True) for _ in range(3))
    output = nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10), next(neurons)
    return nn.Sequential(first, next(neurons), second, next(neurons), *output)


def deep(convolutions: int, *, width: int = 32) -> nn.Sequential:
    """Three stages of as many convolutions each, 3 x 3, that double the channels and halve height and width."""
    layers: list[nn.Module] = []
    channels = 3
    for stage in range(3):
        for place in range(convolutions // 3):
            out = width << stage
            layers += [nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out)]
            if place == convolutions // 3 - 1:
                layers.append(nn.MaxPool2d(2))
            layers.append(snn.Leaky(0.9, init_hidden=True))
            channels = out
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * channels, 10), snn.Leaky(0.9, init_hidden=True))


TUTORIALS = {
    "quickstart": Tutorial(lambda: convolutional((1, 8, 16), 256, _fast), (1, 28, 28), 25, 128, 0.25, True),
    "tutorial5": Tutorial(_dense, (784,), 25, 128, 0.25, True),
    "tutorial6": Tutorial(lambda: convolutional((1, 12, 64), 1024, _fast), (1, 28, 28), 50, 128, 0.25, True),
    "tutorial7": Tutorial(lambda: convolutional((2, 12, 32), 800, _atan), (2, 34, 34), 31, 32, 0.05, False),
    "st-mnist": Tutorial(_st_mnist, (2, 10, 10), 89, 32, 0.05, False),
    "deep3": Tutorial(lambda: deep(3), (3, 32, 32), 8, 32, 1.0, True),
    "deep6": Tutorial(lambda: deep(6), (3, 32, 32), 8, 32, 1.0, True),
    "deep9": Tutorial(lambda: deep(9), (3, 32, 32), 8, 32, 1.0, True),
}
