"""Direct random projections of the target and of the error: DRTP, DFA and sDFA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from snntorch_brp.consolidation import PseudoGradient
from snntorch_brp.propagation import BRP, ErrorProjection, SignProjection
from snntorch_brp.rules.rule import Facts, LocalRule


@dataclass(frozen=True, kw_only=True)
class DRTP(LocalRule):
    """Direct random target projection: the label in the place of the error, through a fixed random matrix::

        δy_k = B_kᵀ y*

    (eq. of the learning signal; y* is the one-hot target, B_k the matrix of layer k). Here δy_k stands in the place
    of ∂L/∂s_t at every step. It is the ancestor of :class:`~snntorch_brp.propagation.BRP`, which it equals but for
    BRP's label spikes. The sign of B_k is as often one as the other, so none is kept here.

    Frenkel, Lefebvre, Bol, "Learning Without Feedback: Fixed Random Learning Signals Allow for Feedforward Training of
    Deep Neural Networks", Frontiers in Neuroscience 15, 2021.

    Example:
        >>> DRTP().propagation
        BRP(label_rate=1.0, stepwise=False, generator=None, centered=False)
    """

    facts: ClassVar[Facts] = Facts(
        name="drtp",
        paper="Frenkel, Lefebvre, Bol, Learning Without Feedback, Frontiers in Neuroscience 2021",
        sees="the label",
        learns="as soon as it has run",
        remembers="its own sequence; online one trace for each input",
        transports="no",
    )

    propagation = BRP()
    consolidation = PseudoGradient()


@dataclass(frozen=True, kw_only=True)
class DFA(LocalRule):
    """Direct feedback alignment: the output's error, through a fixed random matrix::

        δa_k = (B_k e) ⊙ f'(a_k),  e = y - y*

    Nøkland, "Direct Feedback Alignment Provides Learning in Deep Neural Networks", NeurIPS 2016. Its f is the layer's
    spike function here, whose pseudo-derivative runs through the layer's own time, and y the output's mean rate.

    Example:
        >>> DFA().propagation
        ErrorProjection()
    """

    facts: ClassVar[Facts] = Facts(
        name="dfa",
        paper="Nøkland, Direct Feedback Alignment Provides Learning in Deep Neural Networks, NeurIPS 2016",
        sees="the output's error",
        learns="after the output has run",
        remembers="its own sequence",
        transports="no",
    )

    propagation = ErrorProjection()
    consolidation = PseudoGradient()


@dataclass(frozen=True, kw_only=True)
class SDFA(LocalRule):
    """Direct feedback alignment by the signs of the error alone::

        δa_k = (B_k sign(e)) ⊙ f'(a_k),  e = y - y*

    Named sDFA by Frenkel, Lefebvre, Bol (Frontiers in Neuroscience 2021), who compare DRTP with it.

    Example:
        >>> SDFA().propagation
        SignProjection()
    """

    facts: ClassVar[Facts] = Facts(
        name="sdfa",
        paper="Frenkel, Lefebvre, Bol, Learning Without Feedback, Frontiers in Neuroscience 2021",
        sees="the sign of the output's error",
        learns="after the output has run",
        remembers="its own sequence",
        transports="no",
    )

    propagation = SignProjection()
    consolidation = PseudoGradient()
