"""All T steps of a layer of leaky neurons, and the way back through its own time, in plain torch.

This is the definition. :mod:`snntorch_brp.fused.neuron_kernels` does the same with the state in registers and is held
to it; where no compiler is found, this is what runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from snntorch_brp.fused import pseudo_gradients


class Learned(NamedTuple):
    """The parameters of one layer of leaky neurons, each None where it is a constant or frozen."""

    beta: nn.Parameter | None
    threshold: nn.Parameter | None

    def accumulate(self, grad_beta: Tensor, grad_threshold: Tensor) -> None:
        """Add gradients, one for each neuron ``[*]``, to ``.grad``; a decay that is clamped to 0..1 gets none."""
        if self.beta is not None:
            inside = (self.beta >= 0) & (self.beta <= 1)
            _add(self.beta, grad_beta.sum_to_size(self.beta.shape) * inside)
        if self.threshold is not None:
            _add(self.threshold, grad_threshold.sum_to_size(self.threshold.shape))


def _add(parameter: nn.Parameter, gradient: Tensor) -> None:
    gradient = gradient.to(parameter.dtype)
    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)


@dataclass(frozen=True)
class Leaky:
    """The constants of one layer of leaky neurons (eq. 2).

    Attributes:
        beta: Decay g, a scalar or one value a neuron.
        threshold: Threshold θ, likewise.
        spike_grad: Spike function with the surrogate gradient.
        reset: What a spike does: "forget" drops the past while the refractory flag is up, "subtract" takes θ off,
            "none" does nothing.
        tau_ref: Refractory period τ_ref in steps.
        v_rest: Resting potential, where the membrane starts.
        v_reset: Potential it restarts from while the flag is up.
        detach_reset: The gradient does not go through the flag.
        learned: The parameters that decay and threshold are read from, where they are to be trained.
    """

    beta: Tensor
    threshold: Tensor
    spike_grad: Callable[[Tensor], Tensor]
    reset: Literal["forget", "subtract", "none"] = "forget"
    tau_ref: int = 1
    v_rest: float = 0.0
    v_reset: float = 0.0
    detach_reset: bool = False
    learned: Learned | None = None

    @cached_property
    def form(self) -> pseudo_gradients.ClosedForm | None:
        """ψ as a formula, where there is one."""
        return pseudo_gradients.closed_form(self.spike_grad)

    def left(self, v: Tensor) -> Tensor:
        """What is left of a membrane after a step without reset, V_rest + g (v - V_rest)."""
        return self.beta * v if self.v_rest == 0 else self.v_rest + self.beta * (v - self.v_rest)

    def psi(self, v: Tensor) -> Tensor:
        """Pseudo-gradient ψ of the spikes with respect to the membrane (eq. 10 for the boxcar), the shape of ``v``."""
        return pseudo_gradients.psi(self.spike_grad, v - self.threshold)

    def scan(self, current: Tensor) -> Tensor:
        """See :func:`scan`."""
        return scan(current, self)

    def spikes(self, membrane: Tensor) -> Tensor:
        """``s = 1 if v > θ else 0``."""
        return (membrane > self.threshold).to(membrane.dtype)

    def adjoint(
        self, membrane: Tensor, *, grad_spikes: Tensor | None = None, grad_membrane: Tensor | None = None
    ) -> Tensor:
        """See :func:`adjoint`."""
        return adjoint(membrane, self, grad_spikes=grad_spikes, grad_membrane=grad_membrane)


def state_dtype(dtype: torch.dtype) -> torch.dtype:
    """In which dtype membranes, rates and signals are held where currents are of this one: 32 bits at least.

    Eight bits of mantissa would lose most of what a slow membrane gathers, one small current after the other.
    """
    return torch.promote_types(dtype, torch.float32)


def scan(current: Tensor, neuron: Leaky) -> Tensor:
    """Membrane potentials from input currents, from rest (eq. 2)::

        v_t = r_{t-1} V_reset + (1 - r_{t-1}) (V_rest + g (v_{t-1} - V_rest)) + I_t        reset "forget"
        v_t = g v_{t-1} + I_t - s_{t-1} θ                                                  reset "subtract"

    Args:
        current: Input currents I_t, ``[T, B, *]``.
        neuron: The layer's constants.

    Returns:
        Membrane potentials v_t, ``[T, B, *]``; the spikes are ``v_t > θ``.
    """
    membrane = torch.empty_like(current)
    v = torch.full_like(current[0], neuron.v_rest)
    since = torch.where(v > neuron.threshold, 0, neuron.tau_ref)  # steps since the last spike, at most τ_ref
    for t, I_t in enumerate(current):
        if neuron.reset == "forget":
            v = torch.where(since < neuron.tau_ref, neuron.v_reset, neuron.left(v)) + I_t
        elif neuron.reset == "subtract":
            v = neuron.left(v) + I_t - (since == 0) * neuron.threshold
        else:
            v = neuron.left(v) + I_t
        since = torch.where(v > neuron.threshold, 0, (since + 1).clamp(max=neuron.tau_ref))
        membrane[t] = v
    return membrane


def adjoint(
    membrane: Tensor, neuron: Leaky, *, grad_spikes: Tensor | None = None, grad_membrane: Tensor | None = None
) -> Tensor:
    """Gradient of the input currents from gradients on spikes and membranes, back through this layer's own time::

        a_t = ∂v_t + ψ_t (∂s_t + Σ_j a_{t+1+j} (V_reset - V_left_{t+j}) Π_{k≠j} (1 - s_{t+j-k})) + g (1 - r_t) a_{t+1}

    with j, k in 0..τ_ref-1. The sum is what goes through the refractory flag r; with ``detach_reset`` it is left out.
    For τ_ref = 1 and zero potentials this is ``a_t = ψ_t (δ_t - g a_{t+1} v_t) + g (1 - s_t) a_{t+1}``.

    Args:
        membrane: Membrane potentials v_t from :func:`scan`, ``[T, B, *]``.
        neuron: The layer's constants.
        grad_spikes: ∂L/∂s_t, ``[T or 1, B, *]``.
        grad_membrane: ∂L/∂v_t, ``[T or 1, B, *]``.

    Returns:
        a_t = ∂L/∂I_t, ``[T, B, *]``.
    """
    T, zero = len(membrane), torch.zeros_like(membrane[0])
    psi, s = neuron.psi(membrane), (membrane > neuron.threshold).to(membrane.dtype)
    before = torch.full_like(zero, float(neuron.v_rest)) > neuron.threshold  # a neuron may rest above its threshold
    fired = torch.cat([torch.zeros_like(s[:1]).expand(neuron.tau_ref - 1, *zero.shape), before[None].to(s), s])
    in_window = fired.unfold(0, neuron.tau_ref, 1).sum(-1)[-T:]  # spikes that hold up the flag r_t

    def at(gradient: Tensor | None, t: int) -> Tensor:
        return zero if gradient is None else gradient[t if len(gradient) > 1 else 0]

    through_flag = not neuron.detach_reset and neuron.reset == "forget"
    a_next, a, flag_grads = zero, torch.empty_like(membrane), [zero] * (T + neuron.tau_ref)
    for t in reversed(range(T)):
        through_spikes = at(grad_spikes, t)
        if through_flag:
            flag_grads[t] = a_next * (neuron.v_reset - neuron.left(membrane[t]))
            for later in range(t, min(t + neuron.tau_ref, T)):
                alone = in_window[later] == s[t]  # no other spike holds up the flag r_later
                through_spikes = through_spikes + alone * flag_grads[later]
        kept = (in_window[t] == 0) if neuron.reset == "forget" else 1
        a_next = at(grad_membrane, t) + psi[t] * through_spikes + neuron.beta * kept * a_next
        a[t] = a_next
    return a
