"""e-prop: the output's error at every step times an eligibility trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from snntorch_brp.activity import Activity
from snntorch_brp.consolidation import Consolidation
from snntorch_brp.layer_view import LayerView
from snntorch_brp.propagation import Propagation, project
from snntorch_brp.rules.eligibility import Eligibility, FilteredEligibility
from snntorch_brp.rules.rule import Facts, LocalRule

FeedbackKind = Literal["random", "symmetric", "adaptive"]


@dataclass(frozen=True, kw_only=True)
class StepError(Propagation):
    """The output's error at every step, ``TP_t = y_t - ȳ_t``, through a matrix that may know of the readout.

    Args:
        feedback: "random" sends it through the fixed B_l; "symmetric" through the weights of the readout, which the
            layer must be heard by and which are transported; "adaptive" through a matrix that starts as B_l and learns
            as the readout does, from what both its ends see.
        learning_rate: Of the adaptive matrix.
        decay: Weight decay of the adaptive matrix, in each call.

    Raises:
        ValueError: If ``feedback`` is none of these.
    """

    needs_output: ClassVar[bool] = True
    every_step: ClassVar[bool] = True
    fusible: ClassVar[bool] = False

    feedback: FeedbackKind = "random"
    learning_rate: float = 1e-3
    decay: float = 0.0

    def __post_init__(self) -> None:
        if self.feedback not in ("random", "symmetric", "adaptive"):
            raise ValueError(f"feedback must be 'random', 'symmetric' or 'adaptive', got {self.feedback!r}")

    def signal(self, label: Tensor, *, window: Activity, feedback: Tensor, output: Tensor | None) -> Tensor:
        """``TP_t = y_t - ȳ_t``, ``[T, B, K]``."""
        if output is None:
            raise ValueError("StepError compares the output of every step with the label, and got output=None")
        return output - label

    def delta(self, label: Tensor, *, window: Activity, feedback: Tensor, output: Tensor | None) -> Tensor:
        """``L_j(t) = Σ_k B_jk (y_k(t) - ȳ_k(t))``, with the matrix that was chosen."""
        error = self.signal(label, window=window, feedback=feedback, output=output)
        if self.feedback == "random":
            return project(error, feedback)
        if self.feedback == "symmetric":
            weight = readout_weight(window.layer, error.shape[-1], feedback[0].numel())
            return project(error, weight.to(error.dtype).view_as(feedback))
        matrix = window.layer.learned("feedback", lambda: feedback)
        delta = project(error, matrix.to(error.dtype))
        heard = torch.einsum("tbk,tbn->kn", error, window.spikes.flatten(2)).view_as(matrix)
        matrix.mul_(1 - self.decay).sub_(self.learning_rate * heard.to(matrix.dtype) / error.shape[1])
        return delta


def readout_weight(layer: LayerView, classes: int, neurons: int) -> Tensor:
    """The weights ``[K, N]`` of the one linear layer of the network that reads K classes from the layer's N neurons.

    Raises:
        ValueError: If there is none, or more than one.
    """
    net = nn.Module() if layer.net is None else layer.net
    readouts = [m for m in net.modules() if isinstance(m, nn.Linear) and m.weight.shape == (classes, neurons)]
    if len(readouts) != 1:
        raise ValueError(
            f"symmetric feedback takes the weights of the readout of layer '{layer.name}', and the network has "
            f"{len(readouts)} linear layers from {neurons} neurons to {classes} classes: use feedback='random', or one "
            "hidden layer in front of the readout"
        )
    return readouts[0].weight.detach()


@dataclass(frozen=True, kw_only=True)
class EProp(LocalRule):
    """e-prop: the loss's gradient in a recurrent network, without what goes through other neurons::

        L_j(t) = Σ_k B_jk (y_k(t) - y*_k(t))
        e_ji(t) = ψ_j(t) (x̄_i(t) - β_a ε_ji(t)),  ε_ji(t+1) = ρ ε_ji(t) + e_ji(t)
        ē_ji(t) = κ ē_ji(t-1) + e_ji(t)
        dE/dW_ji = Σ_t L_j(t) ē_ji(t)

    for input weights, x̄ the trace of the input spikes, and for recurrent weights (``snn.RLeaky``, ``snn.RSynaptic``),
    x̄ that of the layer's own spikes a step before. The term with ε is there under adaptive thresholds
    (:class:`~snntorch_brp.AdaptiveLeaky`). y is the output at each step: its spikes, or the softmax of a
    readout that does not spike, of which κ is the leak. B is random and fixed (random e-prop), W_outᵀ (symmetric
    e-prop), or learns as W_out does (adaptive e-prop).

    Bellec, Scherr, Subramoney, Hajek, Salaj, Legenstein, Maass, "A solution to the learning dilemma for recurrent
    networks of spiking neurons", Nature Communications 11:3625, 2020. ψ is that of the network's own neurons; the
    firing rate's regularization is left to the loss. Neurons that are both adaptive and recurrent are not among them.

    Args:
        feedback: "random", "symmetric" or "adaptive".
        kappa: κ, the leak of the readout; 0 for an output of spikes. With another the rule does not learn online.
        learning_rate: Of adaptive feedback.
        decay: Weight decay of adaptive feedback.

    Example:
        >>> EProp(feedback="symmetric").propagation.feedback
        'symmetric'
    """

    facts: ClassVar[Facts] = Facts(
        name="e-prop",
        paper="Bellec et al., A solution to the learning dilemma for recurrent networks of spiking neurons, "
        "Nature Communications 2020",
        sees="the output's error at every step",
        learns="at every step, after the output",
        remembers="one trace for each input (M), and each recurrent one (N); with adaptive thresholds for each "
        "connection (NM)",
        transports="no; symmetric: the readout's weights",
    )

    feedback: FeedbackKind = "random"
    kappa: float = 0.0
    learning_rate: float = 1e-3
    decay: float = 0.0

    @property
    def propagation(self) -> Propagation:
        """The error of every step."""
        return self.part(StepError)

    @property
    def consolidation(self) -> Consolidation:
        """Eligibility traces, filtered where the readout leaks."""
        return FilteredEligibility(decay=self.kappa) if self.kappa else Eligibility()
