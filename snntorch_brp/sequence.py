"""Run a network that takes one step a call over a whole sequence, and watch its layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from snntorch_brp.activity import Activity
from snntorch_brp.neurons import reset_state, spiking_layers


def unroll(net: nn.Module, x: Tensor, *, part: Callable[[Any], Tensor] | None = None) -> Tensor:
    """Output spikes of a sequence, from rest.

    Args:
        net: A network that takes one time step a call and keeps its own state (``init_hidden=True``).
        x: Input, time first, ``[T, B, *]``.
        part: What to take of each step's output; :func:`spikes_of` when None.

    Returns:
        Output spikes, ``[T, B, K]``; where the network returns a tuple, of its first part.

    Raises:
        ValueError: If there are no steps.

    Example:
        >>> net = mlp([784, 100, 10])
        >>> unroll(net, torch.zeros(20, 8, 784)).shape
        torch.Size([20, 8, 10])
    """
    if x.dim() < 2 or len(x) == 0:
        raise ValueError(f"x must be a sequence [T, B, ...] of at least one step, got shape {tuple(x.shape)}")
    reset_state(net)
    part = part or spikes_of
    return torch.stack([part(net(x_t)) for x_t in x])


def spikes_of(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The spikes in what a snnTorch network returns: ``spk``, or the first of ``(spk, mem, ...)``."""
    return output[0] if isinstance(output, tuple | list) else output


def membranes_of(output: Any) -> Tensor:
    """The membranes in what a snnTorch network returns: the last of ``(spk, ..., mem)``.

    Raises:
        ValueError: If it returns no more than spikes.
    """
    if not isinstance(output, tuple | list) or len(output) < 2:
        raise ValueError(
            "the loss is on membranes, and the network returns none: make its last neuron with output=True, or return "
            "(spikes, membranes)"
        )
    return output[-1]


def observe(net: nn.Module, run: Callable[[], Any]) -> dict[str, Activity]:
    """Spikes and membranes of every spiking layer while ``run()`` runs the network, without gradients.

    Args:
        net: The network.
        run: Runs it over a sequence, such as ``lambda: unroll(net, x)``.

    Returns:
        Activity by layer name, in the order of the network.

    Example:
        >>> net = mlp([784, 100, 10])
        >>> activity = observe(net, lambda: unroll(net, torch.zeros(20, 8, 784)))
        >>> activity["fc1_lif"].spikes.shape
        torch.Size([20, 8, 100])
    """
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in spiking_layers(net)}

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            membrane = output[-1] if isinstance(output, tuple) else module.mem
            seen[name].append((spikes_of(output), membrane))  # type: ignore[arg-type]

        return hook

    hooks = [layer.register_forward_hook(watch(name)) for name, layer in spiking_layers(net).items()]
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in hooks:
            handle.remove()
    return {
        name: Activity(torch.stack([spikes for spikes, _ in steps]), membrane=torch.stack([v for _, v in steps]))
        for name, steps in seen.items()
        if steps
    }
