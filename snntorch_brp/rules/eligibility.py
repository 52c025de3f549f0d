"""Learning by eligibility traces: what a synapse did, kept until the layer hears what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from snntorch_brp.activity import Activity
from snntorch_brp.consolidation import Consolidation, Gradients
from snntorch_brp.traces import fold


@dataclass(frozen=True, kw_only=True)
class Eligibility(Consolidation):
    """The learning signal times the eligibility trace of each synapse::

        e_ij(t) = ψ_i(t) x̄_j(t),  x̄_j(t) = β x̄_j(t-1) + x_j(t)
        ∇W_ij = Σ_t δ_i(t) e_ij(t)

    ψ and β are those of the layer's own neurons; see :func:`snntorch_brp.eligibility_trace.trace_of` for what stands in
    the place of x̄ in others than leaky ones, and where it is exact. The trace of a layer's recurrent input is that of
    its own spikes. A bias is a synapse whose input is always 1.

    The sum is the same whether it is taken at every step (``attach(..., credit="trace")``), which remembers one trace
    for each input (under adaptive thresholds one for each synapse), or when the sequence is over.

    Example:
        >>> from snntorch_brp.layer_view import LayerView
        >>> from snntorch_brp.activity import Activity
        >>> did = torch.full((2, 1, 1), 0.5)
        >>> window = Activity(did, membrane=did, layer=LayerView("lif", RefractoryLeaky(beta=0.5, threshold=0.5)))
        >>> given = Eligibility().gradients(torch.ones(1, 1, 1), window)
        >>> given.folded(Eligibility(), window).current.flatten().tolist()
        [1.5, 1.0]
    """

    compares_samples: ClassVar[bool] = False
    keeps: ClassVar[frozenset[str]] = frozenset({"membrane", "current"})
    causal: ClassVar[bool] = True
    without_recurrence: ClassVar[bool] = True

    def gradients(self, delta: Tensor, window: Activity) -> Gradients:
        """``g_t = δ_t ψ_t``, on the current that the traces make."""
        return Gradients(traced=delta * window.psi)


@dataclass(frozen=True, kw_only=True)
class InstantCredit(Consolidation):
    """The learning signal times what the synapse does in the same step, ``∇W_ij = Σ_t δ_i(t) ψ_i(t) x_j(t)``."""

    compares_samples: ClassVar[bool] = False
    keeps: ClassVar[frozenset[str]] = frozenset({"membrane", "current"})
    causal: ClassVar[bool] = True
    without_recurrence: ClassVar[bool] = True

    def gradients(self, delta: Tensor, window: Activity) -> Gradients:
        """``∂L/∂I_t = δ_t ψ_t``."""
        return Gradients(current=delta * window.psi)


@dataclass(frozen=True, kw_only=True)
class FilteredEligibility(Consolidation):
    """The same with eligibility traces that are filtered once more, as in front of a leaky readout::

        ē_ij(t) = κ ē_ij(t-1) + e_ij(t)
        ∇W_ij = Σ_t δ_i(t) ē_ij(t)

    The second filter needs a number for every synapse and sample if it runs forwards; run backwards over the learning
    signal, once the sequence is over, it needs none. So it does not learn online.

    Args:
        decay: Decay κ of the readout per step, in [0, 1).

    Raises:
        ValueError: If ``decay`` is out of range.
    """

    compares_samples: ClassVar[bool] = False
    keeps: ClassVar[frozenset[str]] = frozenset({"membrane", "current"})
    without_recurrence: ClassVar[bool] = True

    decay: float

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must lie in [0, 1), got {self.decay}")

    def gradients(self, delta: Tensor, window: Activity) -> Gradients:
        """``g_t = ψ_t Σ_{t' ≥ t} κ^(t'-t) δ_t'``."""
        later = fold(delta.expand(window.steps, *delta.shape[1:]), (self.decay,))
        return Gradients(traced=later * window.psi)
