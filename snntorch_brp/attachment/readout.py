"""The output y that a rule compares with the label, from neurons or from a readout that does not spike."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Readout:
    """What a module that does not spike gave in the running sequence.

    Args:
        module: The module, such as the linear layer behind the last neuron.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._given: list[Tensor] = []

    def clear(self) -> None:
        """Forget the sequence."""
        self._given.clear()

    def keep(self, module: nn.Module, args: tuple[Any, ...], output: Tensor | tuple[Tensor, ...]) -> None:
        """Keep what the module gave in one call."""
        self._given.append((output[0] if isinstance(output, tuple) else output).detach())

    def output(self, num_classes: int, rule: str, *, stepwise: bool, of_classes: bool) -> Tensor:
        """What was given, its mean over time ``[B, K]`` or, ``stepwise``, ``[T, B, K]``; ``of_classes`` its softmax."""
        given = torch.stack(self._given) if len(self._given) > 1 else self._given[0]
        if given.dim() > 2 and not stepwise:
            given = given.mean(0)
        given = by_class(given, num_classes, rule, type(self.module).__name__)
        return torch.softmax(given, dim=-1) if of_classes else given


def by_class(output: Tensor, num_classes: int, rule: str, name: str) -> Tensor:
    """The output of each class; where several neurons code for one, as in a population code, their mean.

    Args:
        output: Rates ``[B, *]``, or spikes ``[T, B, *]`` with ``*`` of one dimension.
        num_classes: Number of classes K.
        rule: Name of the rule that asks.
        name: Name of the output layer.

    Returns:
        ``[..., K]``.

    Raises:
        ValueError: If the neurons cannot be shared out evenly among the classes.
    """
    neurons = output.shape[-1]
    if neurons == num_classes:
        return output
    if neurons < num_classes or neurons % num_classes:
        raise ValueError(
            f"{rule} compares output and label, but layer '{name}' has {neurons} neurons and num_classes is "
            f"{num_classes}: make them equal or a multiple (a population code), or use a label-only rule"
        )
    return output.unflatten(-1, (num_classes, neurons // num_classes)).mean(-1)
