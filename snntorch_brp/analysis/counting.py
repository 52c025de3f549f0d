"""Watch a network run and count: who fired, who was reached by a spike, how many synapses were used.

Counts are exact. A synapse with all its weights set to one, run on ``input != 0``, gives for every neuron the
number of spikes that reach it, borders, strides and groups included; their sum is the number of operations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snntorch_brp.analysis.statistics import LayerStatistics, Statistics, SynapseStatistics
from snntorch_brp.neurons import spiking_layers, takes_sequence, unwrapped
from snntorch_brp.sequence import spikes_of

Synapse = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


def analyse(net: nn.Module, run: Callable[[], Any]) -> Statistics:
    """Count what a network does while ``run()`` runs it over one sequence, without gradients.

    Synapses are ``nn.Linear`` and ``nn.Conv1d`` to ``nn.Conv3d``, also recurrent ones inside a neuron; other
    weights (one-to-one recurrent ones, the cells of SLSTM) are not counted. Memory does not grow with T.

    Args:
        net: Any network of snnTorch neurons.
        run: Runs it over one sequence from rest, such as ``lambda: unroll(net, x)``; for more samples add the
            statistics of several.

    Returns:
        The counts by layer, with the shares, rates and energies that follow from them.

    Raises:
        ValueError: If no spiking layer ran.

    Example:
        >>> net = mlp([784, 100, 10])
        >>> found = analyse(net, lambda: unroll(net, torch.ones(20, 8, 784)))
        >>> found.conventional_operations
        79400.0
        >>> found.layers["fc1_lif"].unreached_share
        0.0
    """
    net = unwrapped(net)
    layers = {name: _Layer(module) for name, module in spiking_layers(net).items()}
    synapses = {name: _Synapse(module) for name, module in net.named_modules() if isinstance(module, Synapse)}
    current = _Current()
    handles = []
    for name, synapse in synapses.items():
        owner = next((layer for outer, layer in layers.items() if name.startswith(f"{outer}.")), None)
        handles.append(synapse.module.register_forward_hook(_synapse_hook(synapse, owner or current)))
    handles += [layer.module.register_forward_hook(_layer_hook(layer, current)) for layer in layers.values()]
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    if not any(layer.steps for layer in layers.values()):
        raise ValueError("no spiking layer ran: give run=lambda: unroll(net, x), or a call of your own network")
    return Statistics(
        {name: layer.statistics() for name, layer in layers.items() if layer.steps},
        {name: synapse.statistics() for name, synapse in synapses.items() if synapse.shapes},
    )


class _Current:
    """What synapses gave that no spiking layer has taken yet: the tensor, and where spikes reached it."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Tensor, Tensor]] = []

    def reach(self, given: Tensor, reached: Tensor) -> None:
        self.waiting.append((given, reached))

    def take(self, current: Tensor) -> list[Tensor]:
        """Where spikes reached a layer's input: from the synapse that gave it, or from all since the last layer."""
        own = [reached for given, reached in self.waiting if given is current]
        taken = own or [reached for _, reached in self.waiting]
        self.waiting = [pair for pair in self.waiting if pair[0] is not current] if own else []
        return taken


class _Layer:
    """Running counts of a spiking layer; the masks are ``[B, *]``."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.steps = 0
        self.spikes: Tensor | None = None
        self.reached: Tensor | None = None
        self._inner: list[Tensor] = []  # what recurrent synapses inside the neuron reached in this step

    def reach(self, given: Tensor, reached: Tensor) -> None:
        self._inner.append(reached)

    def count(self, spikes: Tensor, reached: list[Tensor]) -> None:
        fired = spikes != 0
        whole = takes_sequence(self.module)
        self.steps += len(fired) if whole else 1
        summed = fired.sum(0) if whole else fired.long()
        self.spikes = summed if self.spikes is None else self.spikes + summed
        for mask in [*reached, *self._inner]:
            fitted = _fit(mask.any(0) if whole else mask, summed.shape)
            if fitted is not None:
                self.reached = fitted if self.reached is None else self.reached | fitted
        self._inner = []

    def statistics(self) -> LayerStatistics:
        assert self.spikes is not None
        active = fired = self.spikes > 0
        if self.reached is not None:
            active = fired & self.reached
        return LayerStatistics(
            steps=self.steps,
            samples=len(fired),
            spikes=self.spikes.sum(0).double().cpu(),
            fired=int(fired.sum()),
            reached=None if self.reached is None else int(self.reached.sum()),
            silent=int((~active).sum()),
        )


class _Synapse:
    """Running counts of a layer of synapses."""

    def __init__(self, module: Synapse) -> None:
        self.module = module
        self.events = self.accumulates = self.multiplies = self.dense = 0
        self.shapes: dict[torch.Size, int] = {}  # of inputs, with the operations of a full one

    def count(self, x: Tensor) -> Tensor:
        """Count one call; returns the number of spikes that reach each neuron."""
        received = spikes_received(self.module, x)
        if x.shape not in self.shapes:
            self.shapes[x.shape] = _total(spikes_received(self.module, torch.ones_like(x)))
        self.dense += self.shapes[x.shape]
        self.events += int((x != 0).sum())
        graded = (x != 0) & (x != 1)
        multiplies = _total(spikes_received(self.module, graded)) if bool(graded.any()) else 0
        self.multiplies += multiplies
        self.accumulates += _total(received) - multiplies
        return received

    def statistics(self) -> SynapseStatistics:
        return SynapseStatistics(self.events, self.accumulates, self.multiplies, self.dense)


def spikes_received(synapse: Synapse, x: Tensor) -> Tensor:
    """How many spikes reach each neuron behind a synapse: its output with weights of one on ``x != 0``.

    Args:
        synapse: A linear or convolutional layer.
        x: Its input.

    Returns:
        Counts in the shape of its output, float32, exact up to 2^24.

    Example:
        >>> spikes_received(nn.Linear(3, 2), torch.tensor([[0.0, 1.0, 1.0]])).tolist()
        [[2.0, 2.0]]
    """
    events = (x != 0).float()
    if isinstance(synapse, nn.Linear):  # all neurons receive the same
        return events.sum(-1, keepdim=True).expand(*x.shape[:-1], synapse.out_features)
    with torch.autocast(x.device.type, enabled=False):  # bfloat16 cannot count beyond 256
        ones = torch.ones(synapse.groups, *synapse.weight.shape[1:], device=x.device)
        received = synapse._conv_forward(events, ones, None)  # all channels of a group receive the same
    return received.repeat_interleave(synapse.out_channels // synapse.groups, dim=received.dim() - x.dim() + 1)


def _total(counts: Tensor) -> int:
    return int(counts.sum(dtype=torch.float64))


def _fit(mask: Tensor, shape: torch.Size) -> Tensor | None:
    """Bring a mask of reached outputs to the shape of the neurons, ``[B, *]``, through what stands in between.

    Batch norm and dropout keep the shape; behind pooling a neuron is reached if anything in its patch is. None where
    the shapes have nothing to do with each other.
    """
    if mask.shape == shape:
        return mask
    if len(mask) == shape[0] and mask.numel() == shape.numel():
        return mask.reshape(shape)
    if len(mask.shape) == len(shape) >= 3 and mask.shape[:2] == shape[:2]:
        patch = tuple(before // after for before, after in zip(mask.shape[2:], shape[2:], strict=True))
        if 0 not in patch:
            pool = {3: F.max_pool1d, 4: F.max_pool2d, 5: F.max_pool3d}[len(shape)]
            pooled = pool(mask.float(), patch) > 0
            return pooled if pooled.shape == shape else None
    return None


def _synapse_hook(synapse: _Synapse, owner: _Layer | _Current) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        owner.reach(output, synapse.count(args[0]) > 0)

    return hook


def _layer_hook(layer: _Layer, current: _Current) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Any) -> None:
        layer.count(spikes_of(output), current.take(args[0]))

    return hook
