"""Synapses that learn at every step, from what they take in or from its trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snntorch_brp.attachment.handle import Synapse
from snntorch_brp.traces import Decays, advance
from snntorch_brp.weight_standardization import effective_weight


class LearningSynapse:
    """The traces x̄ of a synapse's input and b̄ of the constant 1 that its bias sees, over the running sequence."""

    def __init__(self, module: Synapse) -> None:
        self.module = module
        self.clear()

    def clear(self) -> None:
        """Forget the running sequence."""
        self._x: list[Tensor] | None = None
        self._b: list[Tensor] | None = None

    def trace(self, x: Tensor, decays: Decays) -> tuple[Tensor, Tensor]:
        """The traces with this step's input; called once a step."""
        self._x = advance(x.detach(), self._x, decays)
        self._b = advance(torch.ones((), dtype=x.dtype, device=x.device), self._b, decays)
        return self._x[0], self._b[0]


@dataclass
class Called:
    """What a synapse did in one step.

    Attributes:
        x: What it took in, ``[B, *]``; with its graph behind another synapse, or where errors travel in space.
        leaf: What it gave, cut from its graph: the gradient of the layer ends here.
        traced: x̄ and b̄, as far as they are known.
    """

    synapse: LearningSynapse
    x: Tensor
    leaf: Tensor
    traced: tuple[Tensor, Tensor] | None = None

    def learn(self, *, traced: bool, weights: bool, passing: Sequence[Tensor] | None) -> None:
        """Make a weight gradient of what has reached the leaf, and pass it on to what was before it.

        Args:
            traced: Take it at the traces of the input, and not at the input.
            weights: Whether the weights learn.
            passing: Leaves before it that get a gradient; all where None.
        """
        gradient, self.leaf.grad = self.leaf.grad, None
        if gradient is None:
            return
        module = self.synapse.module
        if weights and (module.weight.requires_grad or (module.bias is not None and module.bias.requires_grad)):
            x, b = self.traced if traced and self.traced is not None else (self.x.detach(), 1.0)
            bias = None if module.bias is None else module.bias * b
            torch.autograd.backward([_apply(module, x, effective_weight(module), bias)], [gradient])
        if self.x.requires_grad and (passing is None or passing):
            bias = None if module.bias is None else module.bias.detach()
            given = _apply(module, self.x, effective_weight(module).detach(), bias)
            torch.autograd.backward([given], [gradient], inputs=passing, retain_graph=True)


def _apply(synapse: Synapse, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The synapse with other weights, past its hooks."""
    return F.linear(x, weight, bias) if isinstance(synapse, nn.Linear) else synapse._conv_forward(x, weight, bias)
