"""Synapses that learn at every step, from what they take in or from its eligibility trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snntorch_brp.attachment.handle import Synapse
from snntorch_brp.eligibility_trace import EligibilityTrace, Psi
from snntorch_brp.weight_standardization import effective_weight


class LearningSynapse:
    """A synapse, and the eligibility traces of its weights and of its bias over the running sequence.

    A bias is a weight whose input is always 1.
    """

    def __init__(self, module: Synapse) -> None:
        self.module = module
        self.clear()

    def clear(self) -> None:
        """Forget the running sequence."""
        self._weight: list[Tensor] | None = None
        self._bias: list[Tensor] | None = None

    def remember(self, x: Tensor, trace: EligibilityTrace, psi: Psi) -> tuple[Tensor, Tensor]:
        """E of the weights and of the bias with this step's input; called once a step."""
        one = torch.ones((1,) if trace.per_connection else (), dtype=x.dtype, device=x.device)
        self._weight = trace.step(x.detach(), self._weight, psi)
        self._bias = trace.step(one, self._bias, psi)
        return self._weight[0], self._bias[0]


@dataclass
class Called:
    """What a synapse did in one step.

    Attributes:
        x: What it took in, ``[B, *]``; with its graph behind another synapse, or where errors travel in space.
        leaf: What it gave, cut from its graph: the gradient of the layer ends here.
        traced: The eligibility traces of weights and bias, as far as they are known.
        per_connection: Whether these have a number for each connection.
    """

    synapse: LearningSynapse
    x: Tensor
    leaf: Tensor
    traced: tuple[Tensor, Tensor] | None = None
    per_connection: bool = False

    def remember(self, trace: EligibilityTrace, psi: Psi) -> None:
        """Carry the synapse's traces on by this step, of which ψ is that of the neurons behind it."""
        self.traced = self.synapse.remember(self.x, trace, psi)
        self.per_connection = trace.per_connection

    def learn(self, *, traced: bool, weights: bool, passing: Sequence[Tensor] | None) -> None:
        """Make a weight gradient of what has reached the leaf, and pass it on to what was before it.

        Args:
            traced: Let it meet the eligibility traces, and not the input.
            weights: Whether the weights learn.
            passing: Leaves before it that get a gradient; all where None.
        """
        gradient, self.leaf.grad = self.leaf.grad, None
        if gradient is None:
            return
        module = self.synapse.module
        if weights and (module.weight.requires_grad or (module.bias is not None and module.bias.requires_grad)):
            weight, traces = effective_weight(module), self.traced if traced else None
            if traces is None:
                given = _apply(module, self.x.detach(), weight, module.bias)
            elif self.per_connection:
                given = _meet(traces[0], weight)
                given = given if module.bias is None else given + _meet(traces[1], module.bias.unsqueeze(-1))
            else:
                given = _apply(module, traces[0], weight, None if module.bias is None else module.bias * traces[1])
            torch.autograd.backward([given], [gradient])
        if self.x.requires_grad and (passing is None or passing):
            bias = None if module.bias is None else module.bias.detach()
            given = _apply(module, self.x, effective_weight(module).detach(), bias)
            torch.autograd.backward([given], [gradient], inputs=passing, retain_graph=True)


def _apply(synapse: Synapse, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The synapse with other weights, past its hooks."""
    return F.linear(x, weight, bias) if isinstance(synapse, nn.Linear) else synapse._conv_forward(x, weight, bias)


def _meet(traces: Tensor, weight: Tensor) -> Tensor:
    """``Σ_j e_ij w_ij``, ``[B, *, N]``, whose gradient by w is e."""
    return (traces * weight).sum(-1)
