"""All T steps of a layer of leaky neurons with adaptive thresholds, and the way back through its own time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from snntorch_brp.fused import pseudo_gradients


@dataclass
class Adaptive:
    """One layer of neurons, made anew for each batch: their membranes alone do not tell their spikes.

    Attributes:
        beta: Decay g of the membrane, a scalar or one value a neuron.
        threshold: Threshold θ at rest, likewise.
        adaptation: β_a, likewise.
        rho: Decay ρ of the adaptation, likewise.
        spike_grad: Spike function with the surrogate gradient.
        reset: What a spike does: "subtract" takes θ off, "zero" drops the membrane, "none" does nothing.
        fired: Spikes of the last :meth:`scan`, ``[T, B, *]``.
    """

    beta: Tensor
    threshold: Tensor
    adaptation: Tensor
    rho: Tensor
    spike_grad: Callable[[Tensor], Tensor]
    reset: Literal["subtract", "zero", "none"]
    fired: Tensor = field(init=False)
    _above: Tensor = field(init=False)  # v_t - A_t

    def scan(self, current: Tensor) -> Tensor:
        """Membrane potentials from input currents, from rest, each ``[T, B, *]``::

            v_t = g v_{t-1} + I_t - s_{t-1} θ,  A_t = θ + β_a a_t,  a_t = ρ a_{t-1} + s_{t-1}

        (reset "subtract"); the spikes are ``v_t > A_t``.
        """
        membrane, self.fired, self._above = (torch.empty_like(current) for _ in range(3))
        v = a = torch.zeros_like(current[0])
        s = (v > self.threshold).to(v.dtype)  # a neuron may rest above its threshold
        for t, I_t in enumerate(current):
            v = self.beta * ((1 - s) * v if self.reset == "zero" else v) + I_t
            if self.reset == "subtract":
                v = v - s * self.threshold
            a = self.rho * a + s
            membrane[t], self._above[t] = v, v - (self.threshold + self.adaptation * a)
            s = (self._above[t] > 0).to(v.dtype)
            self.fired[t] = s
        return membrane

    def spikes(self, membrane: Tensor) -> Tensor:
        """Spikes of the last :meth:`scan`, which gave these membranes."""
        return self.fired

    def adjoint(
        self, membrane: Tensor, *, grad_spikes: Tensor | None = None, grad_membrane: Tensor | None = None
    ) -> Tensor:
        """Gradient of the currents of the last :meth:`scan`, with b_t = ∂L/∂a_t and the reset held constant::

            g_t = ψ_t (∂s_t + b_{t+1}),  b_t = ρ b_{t+1} - β_a g_t
            ∂L/∂I_t = ∂v_t + g_t + g ∂L/∂I_{t+1}

        times 1 - s_t in the last term where the reset is "zero".

        Args:
            membrane: What :meth:`scan` gave.
            grad_spikes: ∂L/∂s_t, ``[T or 1, B, *]``.
            grad_membrane: ∂L/∂v_t, ``[T or 1, B, *]``.
        """
        psi = pseudo_gradients.psi(self.spike_grad, self._above)
        zero = torch.zeros_like(membrane[0])
        through_spikes, through_membrane = (
            (zero[None] if gradient is None else gradient).expand(membrane.shape)
            for gradient in (grad_spikes, grad_membrane)
        )
        a, b, found = zero, zero, torch.empty_like(membrane)
        for t in reversed(range(len(membrane))):
            g_t = psi[t] * (through_spikes[t] + b)
            b = self.rho * b - self.adaptation * g_t
            kept = 1 - self.fired[t] if self.reset == "zero" else 1
            a = through_membrane[t] + g_t + self.beta * kept * a
            found[t] = a
        return found
