"""The paper's networks (Table II), and two functions to write your own.

All are plain ``nn.Sequential`` networks of snnTorch neurons that take one time step a call
(:func:`snntorch_brp.unroll` runs a sequence), and train by ordinary BPTT as well as by any rule here.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn

from snntorch_brp.neurons import RefractoryLeaky

Neuron = Callable[[], nn.Module]


def paper_neuron() -> RefractoryLeaky:
    """The paper's neuron: g = 0.2, θ = 0.5, τ_ref = 1, its state kept on the module."""
    return RefractoryLeaky(beta=0.2, threshold=0.5, init_hidden=True)


def mlp(sizes: Sequence[int], *, neuron: Neuron = paper_neuron) -> nn.Sequential:
    """A fully connected spiking network.

    Args:
        sizes: Number of inputs, of neurons in each hidden layer, and of classes.
        neuron: Makes the neuron behind each layer.

    Returns:
        A network from ``[B, *]`` (flattened) to spikes ``[B, K]``, one step a call.

    Raises:
        ValueError: If fewer than one hidden layer is given.

    Example:
        >>> len(mlp([784, 500, 10]))
        5
    """
    if len(sizes) < 3:
        raise ValueError(f"sizes must name inputs, at least one hidden layer and classes, got {list(sizes)}")
    layers: dict[str, nn.Module] = {"flatten": nn.Flatten()}
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes), start=1):
        layers |= {f"fc{i}": nn.Linear(fan_in, fan_out), f"fc{i}_lif": neuron()}
    return nn.Sequential(OrderedDict(layers))


def convnet(
    input_shape: Sequence[int],
    *,
    conv: Sequence[tuple[int, int]],
    hidden: Sequence[int],
    num_classes: int,
    pool: int = 2,
    neuron: Neuron = paper_neuron,
) -> nn.Sequential:
    """A convolutional spiking network: convolutions, each with average pooling, then fully connected layers.

    The convolutions have stride 1 and keep the size.

    Args:
        input_shape: Shape of one sample at one step: channels and one or two dimensions.
        conv: Channels and (odd) kernel size of each convolution.
        hidden: Number of neurons in each fully connected hidden layer.
        num_classes: Number of classes K.
        pool: Size and stride of the pooling of spikes behind each convolution; 1 for none.
        neuron: Makes the neuron behind each layer.

    Returns:
        A network from ``[B, *input_shape]`` to spikes ``[B, K]``, one step a call.

    Raises:
        ValueError: If the input is not 1-D or 2-D, or a kernel size is even.

    Example:
        >>> net = convnet((1, 28, 28), conv=[(28, 5)], hidden=[1000], num_classes=10)
        >>> net(torch.zeros(8, 1, 28, 28)).shape
        torch.Size([8, 10])
    """
    channels, *size = input_shape
    if len(size) not in (1, 2):
        raise ValueError(f"input_shape must be (channels, length) or (channels, height, width), got {input_shape}")
    synapse = nn.Conv1d if len(size) == 1 else nn.Conv2d
    pooling = nn.AvgPool1d if len(size) == 1 else nn.AvgPool2d
    layers: dict[str, nn.Module] = {}
    for i, (width, kernel) in enumerate(conv, start=1):
        if kernel % 2 == 0:
            raise ValueError(f"kernel sizes must be odd, so that the size is kept; got {kernel}")
        layers |= {f"conv{i}": synapse(channels, width, kernel, padding=kernel // 2), f"conv{i}_lif": neuron()}
        if pool > 1:
            layers[f"pool{i}"] = pooling(pool)
            size = [length // pool for length in size]
        channels = width
    head = mlp([channels * math.prod(size), *hidden, num_classes], neuron=neuron)
    return nn.Sequential(OrderedDict(layers | dict(head.named_children())))


def mnist_net(*, neuron: Neuron = paper_neuron) -> nn.Sequential:
    """Conv5x5x28-S2-FC1000-FC10 on ``[B, 1, 28, 28]`` (Table II)."""
    return convnet((1, 28, 28), conv=[(28, 5)], hidden=[1000], num_classes=10, neuron=neuron)


def cifar10_net(*, neuron: Neuron = paper_neuron) -> nn.Sequential:
    """Conv5x5x32-S2-FC1000-FC10 on ``[B, 3, 32, 32]`` (Table II)."""
    return convnet((3, 32, 32), conv=[(32, 5)], hidden=[1000], num_classes=10, neuron=neuron)


def tidigits_net(*, dimensions: int = 1, neuron: Neuron = paper_neuron) -> nn.Sequential:
    """Spoken digits of 30 bands by 30 frames (Table II).

    Args:
        dimensions: 1 for Conv1x3x100-FC1000-FC10 on ``[B, 1, 30]``, one frame a step; 2 for
            Conv5x5x28-S2-FC1000-FC10 on the whole ``[B, 1, 30, 30]`` picture at every step.
        neuron: Makes the neuron behind each layer.

    Raises:
        ValueError: If ``dimensions`` is neither 1 nor 2.
    """
    if dimensions == 1:
        return convnet((1, 30), conv=[(100, 3)], hidden=[1000], num_classes=10, pool=1, neuron=neuron)
    if dimensions == 2:
        return convnet((1, 30, 30), conv=[(28, 5)], hidden=[1000], num_classes=10, neuron=neuron)
    raise ValueError(f"dimensions must be 1 or 2, got {dimensions}")


def dvsgesture_net(*, channels: int = 1, neuron: Neuron = paper_neuron) -> nn.Sequential:
    """Conv5x5x32-S2-FC1000-FC11 on ``[B, channels, 32, 32]`` (Table II).

    Args:
        channels: 1 with merged polarities, 2 with a channel each.
        neuron: Makes the neuron behind each layer.
    """
    return convnet((channels, 32, 32), conv=[(32, 5)], hidden=[1000], num_classes=11, neuron=neuron)
