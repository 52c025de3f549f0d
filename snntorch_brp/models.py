"""The paper's networks (Table II), and functions to write your own.

All are plain ``nn.Sequential`` networks of snnTorch neurons that take one time step a call
(:func:`snntorch_brp.sequence` runs a sequence), and train by ordinary BPTT as well as by any rule here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from snntorch_brp.neurons import RefractoryLeaky
from snntorch_brp.notation import Conv, Dense, Neuron, Pool, Spec, build, read


def paper_neuron(*, detach_reset: bool = False) -> RefractoryLeaky:
    """The paper's neuron: g = 0.2, θ = 0.5, τ_ref = 1, its state kept on the module.

    Args:
        detach_reset: Take the reset as a constant on the way back; the authors' code does not.
    """
    return RefractoryLeaky(beta=0.2, threshold=0.5, init_hidden=True, detach_reset=detach_reset)


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
        >>> net = mlp([784, 500, 10])
        >>> list(dict(net.named_children()))
        ['flatten', 'fc1', 'fc1_lif', 'fc2', 'fc2_lif']
    """
    if len(sizes) < 3:
        raise ValueError(f"sizes must name inputs, at least one hidden layer and classes, got {list(sizes)}")
    inputs, *widths = sizes
    return build([Dense(width) for width in widths], (inputs,), neuron)


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
    specs: list[Spec] = []
    for channels, kernel in conv:
        specs += [Conv(kernel, channels), Pool(pool)]
    return build([*specs, *map(Dense, hidden), Dense(num_classes)], input_shape, neuron)


def network(notation: str, input_shape: Sequence[int], *, neuron: Neuron = paper_neuron) -> nn.Sequential:
    """A network written the way the paper writes it.

    Args:
        notation: Layers joined by dashes: ``Conv5x5x28`` (kernel, kernel, channels; ``Conv1x3x100`` in 1-D), ``S2``
            (average pooling), ``FC1000`` or just ``1000``. A bare number in front is the number of inputs. Behind a
            convolution or ``FC``, in the order in which they run, ``BN`` (batch normalization of the currents), ``M2``
            (maximum pooling), and ``WS`` (its weights standardized: zero mean, unit variance, a learned gain). The
            neurons stand before the first ``S``, and behind all others; write ``LIF`` to have them elsewhere:
            ``Conv3x3x64-BN-LIF-M2`` pools spikes, ``Conv3x3x64-BN-M2`` currents.
        input_shape: Shape of one sample at one step.
        neuron: Makes the neuron behind each layer.

    Raises:
        ValueError: If a layer cannot be read, or does not fit the one before.

    Example:
        >>> network("Conv5x5x28-S2-FC1000-FC10", (1, 28, 28))(torch.zeros(8, 1, 28, 28)).shape
        torch.Size([8, 10])
        >>> network("784-500-10", (1, 28, 28))(torch.zeros(8, 1, 28, 28)).shape
        torch.Size([8, 10])
        >>> list(dict(network("Conv3x3x16-BN-M2-FC10", (3, 32, 32)).named_children()))
        ['conv1', 'conv1_bn', 'pool1', 'conv1_lif', 'flatten', 'fc1', 'fc1_lif']
    """
    first, *rest = notation.split("-")
    if not first.isdigit():
        return build([read(part) for part in (first, *rest)], input_shape, neuron)
    if int(first) != math.prod(input_shape):
        raise ValueError(f"{notation!r} takes {first} inputs, but a sample of shape {tuple(input_shape)} does not")
    return build([read(part) for part in rest], input_shape, neuron)


def mnist_net(*, neuron: Neuron = paper_neuron) -> nn.Sequential:
    """Conv5x5x28-S2-FC1000-FC10 on ``[B, 1, 28, 28]`` (Table II)."""
    return network("Conv5x5x28-S2-FC1000-FC10", (1, 28, 28), neuron=neuron)


def cifar10_net(*, neuron: Neuron = paper_neuron) -> nn.Sequential:
    """Conv5x5x32-S2-FC1000-FC10 on ``[B, 3, 32, 32]`` (Table II)."""
    return network("Conv5x5x32-S2-FC1000-FC10", (3, 32, 32), neuron=neuron)


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
        return network("Conv1x3x100-FC1000-FC10", (1, 30), neuron=neuron)
    if dimensions == 2:
        return network("Conv5x5x28-S2-FC1000-FC10", (1, 30, 30), neuron=neuron)
    raise ValueError(f"dimensions must be 1 or 2, got {dimensions}")


def dvsgesture_net(*, channels: int = 1, neuron: Neuron = paper_neuron) -> nn.Sequential:
    """Conv5x5x32-S2-FC1000-FC11 on ``[B, channels, 32, 32]`` (Table II).

    Args:
        channels: 1 with merged polarities, 2 with a channel each.
        neuron: Makes the neuron behind each layer.
    """
    return network("Conv5x5x32-S2-FC1000-FC11", (channels, 32, 32), neuron=neuron)
