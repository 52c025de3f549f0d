"""Decays and thresholds that are learned: their gradients, once those of the currents are known."""

from __future__ import annotations

import torch
from torch import Tensor

from snntorch_brp.fused.scan import Leaky


def gradients(membrane: Tensor, a: Tensor, neuron: Leaky, *, grad_membrane: Tensor | None) -> tuple[Tensor, Tensor]:
    """Gradients of decay g and threshold θ from those of the currents, a_t = ∂L/∂I_t::

        ∂L/∂g = Σ_t a_{t+1} (1 - r_t) (v_t - V_rest)
        ∂L/∂θ = -Σ_t ψ_t ∂s_t - Σ_t a_{t+1} s_t                 ψ_t ∂s_t = a_t - ∂v_t - g (1 - r_t) a_{t+1}

    with r_t = 0 unless the reset is "forget", and the second sum, the θ that is taken off, for "subtract" alone.

    Args:
        membrane: Membrane potentials v_t, ``[T, B, *]``.
        a: What :func:`snntorch_brp.fused.scan.adjoint` made of them, ``[T, B, *]``.
        neuron: The layer's constants.
        grad_membrane: ∂L/∂v_t as the adjoint was given it.

    Returns:
        ∂L/∂g and ∂L/∂θ of each neuron, ``[*]``.
    """
    fired = membrane > neuron.threshold
    a_next = torch.cat([a[1:], torch.zeros_like(a[:1])])
    kept = ~_flag(fired, neuron) if neuron.reset == "forget" else torch.ones_like(fired)
    grad_beta = (a_next * kept * (membrane - neuron.v_rest)).sum((0, 1))
    through_spikes = a - neuron.beta * kept * a_next
    if grad_membrane is not None:
        through_spikes = through_spikes - grad_membrane
    grad_threshold = -through_spikes.sum((0, 1)) + before_first_step(membrane, a, neuron)
    if neuron.reset == "subtract":
        grad_threshold = grad_threshold - (a_next * fired).sum((0, 1))
    return grad_beta, grad_threshold


def before_first_step(membrane: Tensor, a: Tensor, neuron: Leaky) -> Tensor:
    """What ∂L/∂θ gets from the spike that a neuron at rest may have fired, ``[*]``; arguments as above.

    Args:
        membrane: Membrane potentials, of which the first τ_ref - 1 steps are looked at.
        a: Gradients of the currents.
        neuron: The layer's constants.
    """
    rest = torch.full_like(a[0], neuron.v_rest)
    before = rest > neuron.threshold
    if neuron.reset == "subtract":
        return -(a[0] * before).sum(0)
    if neuron.reset == "none" or neuron.detach_reset:
        return torch.zeros_like(a[0, 0])
    through = a[0] * (neuron.v_reset - neuron.v_rest)
    held_up = torch.zeros_like(before)
    for t in range(min(neuron.tau_ref, len(a)) - 1):
        held_up |= membrane[t] > neuron.threshold
        through = through + ~held_up * a[t + 1] * (neuron.v_reset - neuron.left(membrane[t]))
    return -(neuron.psi(rest) * through).sum(0)


def _flag(fired: Tensor, neuron: Leaky) -> Tensor:
    """Whether the refractory flag r_t is up, ``[T, B, *]``, from the spikes and the state at rest."""
    before = torch.full_like(fired[:1], neuron.v_rest, dtype=neuron.threshold.dtype) > neuron.threshold
    flag = fired.clone()
    for late in range(1, neuron.tau_ref):
        flag[late:] |= fired[:-late]
        flag[late - 1 : late] |= before
    return flag
