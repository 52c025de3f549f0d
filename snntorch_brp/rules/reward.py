"""Reward-modulated spike-timing-dependent plasticity: one number tells all synapses how well the network did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from snntorch_brp.activity import Activity
from snntorch_brp.consolidation import Consolidation, Gradients
from snntorch_brp.eligibility_trace import EligibilityTrace, LeakyTrace
from snntorch_brp.layer_view import LayerView
from snntorch_brp.propagation import Propagation
from snntorch_brp.rules.rule import Facts, LocalRule


@dataclass(frozen=True, kw_only=True)
class Reward(Propagation):
    """Minus the reward, one number for all neurons: 1 where the network names the right class, -1 elsewhere.

    (Minus, since what is sent stands in the place of a gradient, which is descended.)

    Args:
        baseline: Subtract the mean reward so far, a running mean that keeps this share of itself at each call; 0 sends
            the reward as it is.

    Raises:
        ValueError: If ``baseline`` is out of range.
    """

    needs_output: ClassVar[bool] = True
    fusible: ClassVar[bool] = False

    baseline: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.baseline < 1:
            raise ValueError(f"baseline must lie in [0, 1), got {self.baseline}")

    def signal(self, label: Tensor, *, window: Activity, feedback: Tensor, output: Tensor | None) -> None:
        """Nothing goes through B_l."""

    def delta(self, label: Tensor, *, window: Activity, feedback: Tensor, output: Tensor | None) -> Tensor:
        """``-r``, or ``-(r - r̄)``, ``[1, B, *]``."""
        if output is None:
            raise ValueError("Reward compares the output with the label, and got output=None")
        right = output.argmax(-1) == label.mean(0).argmax(-1)
        reward = 2 * right.to(label.dtype) - 1
        if self.baseline:
            mean = window.layer.learned("mean reward", lambda: reward.new_zeros(()))
            reward, so_far = reward - mean, reward.mean()
            mean.mul_(self.baseline).add_((1 - self.baseline) * so_far)
        return -reward.view(1, -1, *[1] * (feedback.dim() - 1)).expand(1, -1, *feedback.shape[1:])


@dataclass(frozen=True, kw_only=True)
class PairTrace(Consolidation):
    """Spike pairs, remembered until the end of the sequence::

        ζ_ij(t) = A₊ x̄_j(t) s_i(t) + A₋ s̄_i(t) x_j(t)
        ∇W_ij = δ_i Σ_t λ_z^(T-t) ζ_ij(t)

    with traces x̄ of the input spikes and s̄ of the layer's own, both with the spikes of the step itself.

    Args:
        potentiation: A₊.
        depression: A₋, usually negative.
        decay_pre: Decay of x̄ per step, in [0, 1).
        decay_post: Decay of s̄ per step, in [0, 1).
        decay_trace: Decay λ_z of what is remembered of the pairs, in [0, 1].

    Raises:
        ValueError: If a decay is out of range.
    """

    compares_samples: ClassVar[bool] = False
    keeps: ClassVar[frozenset[str]] = frozenset({"current"})
    without_recurrence: ClassVar[bool] = True

    potentiation: float = 1.0
    depression: float = -1.0
    decay_pre: float = 0.8
    decay_post: float = 0.8
    decay_trace: float = 1.0

    def __post_init__(self) -> None:
        if not (0 <= self.decay_pre < 1 and 0 <= self.decay_post < 1 and 0 <= self.decay_trace <= 1):
            raise ValueError(
                f"decays must lie in [0, 1), got {self.decay_pre}, {self.decay_post} and {self.decay_trace}"
            )

    def trace(self, layer: LayerView) -> EligibilityTrace:
        """x̄ with a decay of its own, whatever the neuron."""
        return LeakyTrace((self.decay_pre,))

    def gradients(self, delta: Tensor, window: Activity) -> Gradients:
        """``g_t = δ λ_z^(T-t) A₊ s_t`` on the traces, ``δ λ_z^(T-t) A₋ s̄_t`` on the inputs."""
        s, T = window.spikes, window.steps
        left = self.decay_trace ** torch.arange(T - 1, -1, -1, dtype=s.dtype, device=s.device)
        gate = delta * left.view(-1, *[1] * (s.dim() - 1))
        s_bar = window.trace(s, self.decay_post, name="spikes")
        return Gradients(current=self.depression * gate * s_bar, traced=self.potentiation * gate * s)


@dataclass(frozen=True, kw_only=True)
class RewardModulatedSTDP(LocalRule):
    """Reward-modulated STDP with an eligibility trace (MSTDPET)::

        P⁺_j(t) = P⁺_j(t-1) λ₊ + A₊ x_j(t),  P⁻_i(t) = P⁻_i(t-1) λ₋ + A₋ s_i(t)
        ζ_ij(t) = P⁺_j(t) s_i(t) + P⁻_i(t) x_j(t)
        z_ij(t) = λ_z z_ij(t-1) + ζ_ij(t),  Δw_ij = η r z_ij(T)

    One reward comes at the end of a sequence: 1 where the network named the right class, -1 elsewhere, or what is
    above its running mean. Nothing tells a neuron what its own part in it was, so a layer learns slowly, if at all: on
    the digits of the project's tests it does not beat hidden layers at rest.

    Florian, "Reinforcement learning through modulation of spike-timing-dependent synaptic plasticity", Neural
    Computation 19, 2007; Izhikevich, "Solving the distal reward problem through linkage of STDP and dopamine
    signaling", Cerebral Cortex 17, 2007.

    Args:
        potentiation: A₊.
        depression: A₋.
        decay_pre: λ₊ per step.
        decay_post: λ₋ per step.
        decay_trace: λ_z per step; 1 forgets nothing until the reward comes.
        baseline: Share of itself that the running mean of the reward keeps at each call; 0 for none.

    Example:
        >>> RewardModulatedSTDP(baseline=0.9).propagation
        Reward(baseline=0.9)
    """

    facts: ClassVar[Facts] = Facts(
        name="r-stdp",
        paper="Florian, Reinforcement learning through modulation of STDP, Neural Computation 2007",
        sees="one reward for all",
        learns="when the reward comes",
        remembers="one trace for each synapse (NM), or its sequence",
        transports="no",
    )

    potentiation: float = 1.0
    depression: float = -1.0
    decay_pre: float = 0.8
    decay_post: float = 0.8
    decay_trace: float = 1.0
    baseline: float = 0.9

    @property
    def propagation(self) -> Propagation:
        """The reward."""
        return self.part(Reward)

    @property
    def consolidation(self) -> Consolidation:
        """Spike pairs."""
        return self.part(PairTrace)
