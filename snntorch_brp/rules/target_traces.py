"""The projected target meets an eligibility trace: ETLP and OSTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from snntorch_brp.consolidation import PseudoGradient
from snntorch_brp.propagation import BRP, Propagation
from snntorch_brp.rules.eligibility import Eligibility
from snntorch_brp.rules.rule import Facts, LocalRule


@dataclass(frozen=True, kw_only=True)
class ETLP(LocalRule):
    """Event-based three-factor local plasticity: a label spike is the third factor, and says when to learn::

        Δw_ij = -η Σ_t Σ_k B_ik y*_k[t] ψ(v_i[t]) x̄_j[t]

    The teaching neuron of the right class fires at random times, y*_k[t] ∈ {0, 1}; nothing is learned in between.
    x̄ is the trace of the input spikes, ψ the pseudo-derivative at the membrane, B fixed and random. Behind adaptive
    thresholds (:class:`~snntorch_brp.AdaptiveLeaky`), which the paper has, too, the trace is e-prop's.

    Quintana, Perez-Peña, Galindo, Neftci, Chicca, Khacef, "ETLP: event-based three-factor local plasticity for online
    learning with neuromorphic hardware", Neuromorphic Computing and Engineering 4, 2024.

    Args:
        label_rate: Probability that the teaching neuron fires at a step.
        generator: Source of its spikes.

    Example:
        >>> ETLP(label_rate=0.1).propagation.stepwise
        True
    """

    facts: ClassVar[Facts] = Facts(
        name="etlp",
        paper="Quintana et al., ETLP: event-based three-factor local plasticity, "
        "Neuromorphic Computing and Engineering 2024",
        sees="label spikes",
        learns="at the steps with a label spike",
        remembers="one trace for each input (M)",
        transports="no",
    )

    label_rate: float = 0.25
    generator: torch.Generator | None = None

    @property
    def propagation(self) -> Propagation:
        """Label spikes."""
        return self.part(BRP, stepwise=True)

    consolidation = Eligibility()


@dataclass(frozen=True, kw_only=True)
class OSTTP(LocalRule):
    """Online spatio-temporal learning with target projection: the target times the exact trace of the layer::

        ε_t = (∂h_t/∂h_{t-1}) ε_{t-1} + ∂h_t/∂θ,  e_t = (∂s_t/∂h_t) ε_t
        ∇θ = Σ_t (B_l y*_t) e_t

    The sum is that of the gradient through the layer's own time, recurrence and resets included, as far as the neuron
    lets a gradient through them; so it is computed when the sequence is over, with memory that grows with T, and not
    by ε, which takes a number for each neuron and synapse, N²M in a recurrent layer. Online, with ``credit="trace"``,
    ε is that of :func:`snntorch_brp.eligibility_trace.trace_of`: exact for leaky layers without recurrence that reset
    by subtraction or not at all.

    Ortner, Pes, Gentinetta, Frenkel, Pantazi, "Online Spatio-Temporal Learning with Target Projection", IEEE AICAS
    2023.

    Example:
        >>> OSTTP().consolidation
        PseudoGradient()
    """

    facts: ClassVar[Facts] = Facts(
        name="osttp",
        paper="Ortner et al., Online Spatio-Temporal Learning with Target Projection, IEEE AICAS 2023",
        sees="the label",
        learns="at every step; with its own recurrence when the sequence is over",
        remembers="one trace for each input (M); with its own recurrence its sequence",
        transports="no",
    )

    propagation = BRP()
    consolidation = PseudoGradient()
