"""What a sequential network is made of, and whether the fast path can run it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from snntorch_brp.fused.dynamics import why_not
from snntorch_brp.fused.synapse import Synapse
from snntorch_brp.neurons import is_spiking
from snntorch_brp.standardize import Standardize


class NotFusible(ValueError):
    """The fast path cannot run a network; the message names the module in the way."""


@dataclass(frozen=True)
class Layer:
    """One layer of neurons and the modules that lead to it.

    Attributes:
        name: The neuron's name in its network.
        neuron: The neuron.
        synapse: All modules between the last neuron and this one.
    """

    name: str
    neuron: nn.Module
    synapse: Synapse


class Named(NamedTuple):
    """A module and its name in the network."""

    name: str
    module: nn.Module


STATELESS = (
    *(nn.Linear, nn.Conv1d, nn.Conv2d, nn.Flatten, nn.Identity),
    *(nn.AvgPool1d, nn.AvgPool2d, nn.MaxPool1d, nn.MaxPool2d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d),
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.BatchNorm1d, nn.BatchNorm2d, Standardize),
)


def plan(net: nn.Module) -> list[Layer]:
    """The layers of a network that the fast path can run.

    Args:
        net: An ``nn.Sequential``, which may hold others, of ``snn.Leaky`` and ``RefractoryLeaky`` neurons that keep
            their own state (``init_hidden=True``) and stateless modules between them.

    Returns:
        At least two layers, the output last.

    Raises:
        NotFusible: If the network does not qualify; the message names the module in the way.

    Example:
        >>> [layer.name for layer in plan(mlp([784, 100, 10]))]
        ['fc1_lif', 'fc2_lif']
    """
    layers: list[Layer] = []
    between: list[nn.Module] = []
    seen: set[nn.Module] = set()
    for name, module in _leaves(net, ""):
        if module in seen and is_spiking(module):
            raise NotFusible(f"'{name}' is used twice: each place in the network needs a neuron of its own")
        seen.add(module)
        if is_spiking(module):
            reason = why_not(module)
            if reason is not None:
                raise NotFusible(f"'{name}' {reason}")
            layers.append(Layer(name, module, Synapse(between, behind_neuron=bool(layers))))
            between = []
        else:
            between.append(module)
    if len(layers) < 2:
        raise NotFusible(f"the network has {len(layers)} spiking layers, and a local rule needs at least two")
    _check_ends(layers, between)
    return layers


def _leaves(module: nn.Module, name: str) -> Iterator[Named]:
    if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks:
        raise NotFusible(f"'{name or type(module).__name__}' carries hooks, which the fast path would not call")
    if type(module) is nn.Sequential:
        for key, child in module._modules.items():  # named_children() would skip repeats
            assert child is not None
            yield from _leaves(child, f"{name}.{key}" if name else key)
        return
    if not is_spiking(module) and type(module) not in STATELESS:
        raise NotFusible(
            f"'{name or 'the network'}' is a {type(module).__name__}; the fast path runs nn.Sequential of Linear, "
            "Conv, pooling, Flatten, Dropout, BatchNorm and leaky neurons"
        )
    if isinstance(module, nn.Flatten) and module.start_dim != 1:
        raise NotFusible(f"'{name}' flattens from dimension {module.start_dim}, and not from 1")
    yield Named(name, module)


def _check_ends(layers: Sequence[Layer], rest: Sequence[nn.Module]) -> None:
    for layer in layers[:-1]:
        if layer.neuron.output:
            raise NotFusible(f"'{layer.name}' returns its membrane too (output=True), and only the last neuron may")
    behind = [type(module).__name__ for module in rest if not isinstance(module, nn.Identity)]
    if behind:
        raise NotFusible(f"{behind[0]} follows the last neuron '{layers[-1].name}', which must be the output")


def neuron_shapes(layers: Sequence[Layer], sample_shape: Sequence[int], dtype: torch.dtype) -> list[tuple[int, ...]]:
    """Shape of each layer's neurons for one sample, worked out without computing anything.

    Raises:
        ValueError: If a sample of ``sample_shape`` does not fit into the network; the message names the layer.
    """
    z = torch.empty(2, *sample_shape, dtype=dtype, device="meta")
    shapes = []
    for layer in layers:
        modules = layer.synapse.modules
        tensors = itertools.chain(modules.named_parameters(), modules.named_buffers())
        try:
            z = functional_call(modules, {name: _meta(tensor) for name, tensor in tensors}, (z,))
        except (RuntimeError, ValueError, IndexError) as error:
            raise ValueError(
                f"an input of shape {tuple(sample_shape)} does not fit layer '{layer.name}': {error}"
            ) from error
        shapes.append(tuple(z.shape[1:]))
    return shapes


def _meta(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="meta")
