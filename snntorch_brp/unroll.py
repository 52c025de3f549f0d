"""Run a network that takes one step a call over a whole sequence."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snntorch_brp.neurons import reset_state


def unroll(net: nn.Module, x: Tensor) -> Tensor:
    """Output spikes of a sequence, from rest.

    Args:
        net: A network that takes one time step a call and keeps its own state (``init_hidden=True``).
        x: Input, time first, ``[T, B, *]``.

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
    return torch.stack([spikes_of(net(x_t)) for x_t in x])


def spikes_of(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The spikes in what a snnTorch network returns: ``spk``, or the first of ``(spk, mem, ...)``."""
    return output[0] if isinstance(output, tuple | list) else output
