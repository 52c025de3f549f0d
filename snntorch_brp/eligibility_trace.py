"""What a synapse keeps of what it did, until the layer hears what came of it; forwards in time and backwards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import snntorch as snn
import torch
from torch import Tensor, nn

from snntorch_brp.adaptive import AdaptiveLeaky
from snntorch_brp.traces import Decays, advance, fold

Psi = Callable[[], Tensor]
"""Gives ψ where a trace needs it: of the step, ``[B, *]``, or of all steps, ``[T, B, *]``."""


class EligibilityTrace(ABC):
    """The eligibility trace of a layer's synapses, up to the factor ψ_i(t) of the neuron::

        ∇W_ij = Σ_t h_i(t) e_ij(t),  h_i(t) = δ_i(t) ψ_i(t)

    There are two ways to that sum. Forwards, :meth:`step` carries e from step to step, and the product with h is taken
    at each (``credit="trace"``): memory does not grow with T. Backwards, once the sequence is over, :meth:`fold` turns
    h into the gradient of the currents, of which ``Σ_t a_i(t) x_j(t)`` is the same sum, in full credit and in the fused
    engine.

    Attributes:
        decays: How the membrane forgets its input: ``(β,)``, or ``(β, α)`` behind a synaptic current.
        per_connection: e has a number for each connection and sample, and not one for each input.
    """

    decays: Decays
    per_connection: ClassVar[bool]

    @abstractmethod
    def step(self, x: Tensor, before: Sequence[Tensor] | None, psi: Psi) -> list[Tensor]:
        """One step forwards.

        Args:
            x: What the synapse takes in, ``[B, *, M]`` (any shape where ``per_connection`` is False).
            before: What this method returned a step before; None at the first step.
            psi: ψ of this step, ``[B, *, N]``.

        Returns:
            e_t: x̄_t in the shape of x, the same for all neurons, or ``[B, *, N, M]``; followed by what the next step
            needs.
        """

    @abstractmethod
    def fold(self, gradient: Tensor, psi: Psi) -> Tensor:
        """All steps backwards.

        Args:
            gradient: h_t, ``[T, B, *]``.
            psi: ψ of all steps, ``[T, B, *]``.

        Returns:
            a_t = ∂L/∂I_t, ``[T, B, *]``.
        """


@dataclass(frozen=True)
class LeakyTrace(EligibilityTrace):
    """That of a leaky membrane, a cascade of leaky sums of the input: ``e_ij(t) = x̄_j(t) = β x̄_j(t-1) + x_j(t)``.

    Args:
        decays: β, or β and α.
    """

    per_connection: ClassVar[bool] = False

    decays: Decays

    def step(self, x: Tensor, before: Sequence[Tensor] | None, psi: Psi) -> list[Tensor]:
        """x̄_t, and the sums before it."""
        return advance(x, before, self.decays)

    def fold(self, gradient: Tensor, psi: Psi) -> Tensor:
        """``a_t = β a_{t+1} + h_t``."""
        return fold(gradient, self.decays)


@dataclass(frozen=True)
class AdaptiveTrace(EligibilityTrace):
    """That of a leaky membrane under an adaptive threshold (Bellec et al. 2020, eqs. 24 and 25)::

        e_ij(t) = x̄_j(t) - β_a ε_ij(t),  ε_ij(t+1) = ρ ε_ij(t) + ψ_i(t) e_ij(t)

    ε is what the synapse has done to the adaptation a_i. Backwards, with b_t = ∂L/∂a_t::

        g_t = h_t + ψ_t b_{t+1},  b_t = ρ b_{t+1} - β_a g_t,  a_t = β a_{t+1} + g_t

    Args:
        decays: β.
        adaptation: β_a, a number or one a neuron.
        rho: ρ, likewise.
    """

    per_connection: ClassVar[bool] = True

    decays: Decays
    adaptation: Tensor
    rho: Tensor

    def step(self, x: Tensor, before: Sequence[Tensor] | None, psi: Psi) -> list[Tensor]:
        """e_t, ε_{t+1}, and the sums of the input."""
        _, epsilon, *sums = before or (None, None)
        sums = advance(x, sums or None, self.decays)
        strength, rho = (value.view(*value.shape, 1) if value.dim() else value for value in (self.adaptation, self.rho))
        e = sums[0].unsqueeze(-2)
        if epsilon is not None:
            e = e - strength * epsilon
        step = psi().unsqueeze(-1) * e
        return [e, step if epsilon is None else rho * epsilon + step, *sums]

    def fold(self, gradient: Tensor, psi: Psi) -> Tensor:
        """The adaptation's own way back, and the membrane's."""
        b = torch.zeros_like(gradient[0])
        through = []
        for h_t, psi_t in zip(gradient.flip(0), psi().flip(0), strict=True):
            g_t = h_t + psi_t * b
            b = self.rho * b - self.adaptation * g_t
            through.append(g_t)
        return fold(torch.stack(through[::-1]), self.decays)


def trace_of(neuron: nn.Module) -> EligibilityTrace:
    """The eligibility trace of the synapses of a layer.

    Exact where the membrane is a leaky sum, which a reset by subtraction leaves it, since snnTorch detaches the reset.
    A reset to zero is an approximation: the trace does not know that the neuron forgot. Of a recurrent layer it is that
    of e-prop: the trace leaves out what the layer's own spikes did to it since.

    Args:
        neuron: ``snn.Leaky``, ``RefractoryLeaky``, ``AdaptiveLeaky``, ``snn.RLeaky``, ``snn.Synaptic`` or
            ``snn.RSynaptic``.

    Raises:
        ValueError: If the memory of the neuron is another.
    """
    if isinstance(neuron, snn.Synaptic | snn.RSynaptic):
        return LeakyTrace((neuron.beta.detach().clamp(0, 1), neuron.alpha.detach().clamp(0, 1)))
    if isinstance(neuron, snn.Leaky | snn.RLeaky) and not isinstance(neuron, snn.DeltaLeaky):
        decays = (neuron.beta.detach().clamp(0, 1),)
        if isinstance(neuron, AdaptiveLeaky):
            return AdaptiveTrace(decays, neuron.adaptation, neuron.rho)
        return LeakyTrace(decays)
    raise ValueError(
        f"a {type(neuron).__name__} has no eligibility trace here: use Leaky, RefractoryLeaky, AdaptiveLeaky, RLeaky, "
        "Synaptic or RSynaptic, or a rule that learns by PseudoGradient()"
    )
