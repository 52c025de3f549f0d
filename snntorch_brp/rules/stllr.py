"""S-TLLR: causal and non-causal spike timing in one eligibility trace."""

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
from snntorch_brp.rules.eprop import StepError
from snntorch_brp.rules.instant import InstantGradient
from snntorch_brp.rules.rule import Facts, LocalRule


@dataclass(frozen=True, kw_only=True)
class TimingTrace(Consolidation):
    """The learning signal times a trace of what came before and what came after::

        e_ij[t] = α_pre Ψ(u_i[t]) Σ_{t' ≤ t} λ_pre^(t-t') x_j[t'] + α_post x_j[t] Σ_{t' < t} λ_post^(t-t') Ψ(u_i[t'])
        ∇W_ij = Σ_{t ≥ T_l} δ_i[t] e_ij[t]

    Args:
        decay_pre: λ_pre, in [0, 1).
        decay_post: λ_post, in [0, 1).
        causal_weight: α_pre, of an input before the neuron's own activity.
        anticausal_weight: α_post, of an input after it.
        delay: T_l, the first step with a learning signal.

    Raises:
        ValueError: If a decay is out of range.
    """

    compares_samples: ClassVar[bool] = False
    keeps: ClassVar[frozenset[str]] = frozenset({"membrane", "current"})
    causal: ClassVar[bool] = True
    without_recurrence: ClassVar[bool] = True

    decay_pre: float
    decay_post: float
    causal_weight: float
    anticausal_weight: float
    delay: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.decay_pre < 1 and 0 <= self.decay_post < 1):
            raise ValueError(f"decays must lie in [0, 1), got {self.decay_pre} and {self.decay_post}")

    def trace(self, layer: LayerView) -> EligibilityTrace:
        """x̄ with λ_pre, whatever the neuron."""
        return LeakyTrace((self.decay_pre,))

    def gradients(self, delta: Tensor, window: Activity) -> Gradients:
        """``α_pre δ Ψ`` on the traces of the inputs, ``α_post δ Ψ̄_{t-1}`` on the inputs."""
        psi = window.psi
        before = self.decay_post * window.trace(psi, self.decay_post, name="psi", delayed=True)
        t = window.first + torch.arange(window.steps, device=psi.device).view(-1, *[1] * (psi.dim() - 1))
        delta = delta * (t >= self.delay)
        return Gradients(current=self.anticausal_weight * delta * before, traced=self.causal_weight * delta * psi)


@dataclass(frozen=True, kw_only=True)
class STLLR(LocalRule):
    """S-TLLR, a three-factor rule after STDP: the learning signal times causal and non-causal timing::

        e_ij[t] = α_pre Ψ(u_i[t]) Σ_{t' ≤ t} λ_pre^(t-t') x_j[t'] + α_post x_j[t] Σ_{t' < t} λ_post^(t-t') Ψ(u_i[t'])
        Δw_ij = -η Σ_{t ≥ T_l} δ_i[t] e_ij[t]

    with δ the output's error at each step, through a fixed random matrix (as in the paper's experiments with direct
    feedback alignment) or, with ``global_error``, the loss's gradient at the step, backpropagated through the layers
    behind: **then the signal is global in space**, and the rule learns online only, ``credit="trace"``. Ψ, the paper's
    secondary activation, is the pseudo-derivative of the layer's own neurons.

    Apolinario, Roy, "S-TLLR: STDP-inspired Temporal Local Learning Rule for Spiking Neural Networks", Transactions on
    Machine Learning Research (arXiv:2306.15220). A bias is a synapse whose input is always 1; the paper's code gives it
    the signal of the step alone.

    Args:
        decay_pre: λ_pre.
        decay_post: λ_post.
        causal_weight: α_pre.
        anticausal_weight: α_post; the authors use -1 for images, and 1 for sounds.
        delay: T_l, the first step with a learning signal.
        global_error: Backpropagate the error in space.

    Example:
        >>> STLLR(decay_pre=0.75).consolidation.decay_pre
        0.75
    """

    facts: ClassVar[Facts] = Facts(
        name="s-tllr",
        paper="Apolinario, Roy, S-TLLR: STDP-inspired Temporal Local Learning Rule for Spiking Neural Networks, TMLR",
        sees="the output's error at every step; with global_error that of the layer behind it: global in space",
        learns="at every step, after the output",
        remembers="one trace for each input and each neuron (M + N)",
        transports="no; with global_error: errors through the weights of the layers behind",
    )

    decay_pre: float = 0.75
    decay_post: float = 0.2
    causal_weight: float = 1.0
    anticausal_weight: float = -1.0
    delay: int = 0
    global_error: bool = False

    @property
    def propagation(self) -> Propagation:
        """The error of every step."""
        return InstantGradient() if self.global_error else StepError()

    @property
    def consolidation(self) -> Consolidation:
        """Causal and non-causal traces."""
        return self.part(TimingTrace)
