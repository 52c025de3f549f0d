"""How a layer learns from what was sent to it: local consolidation (eqs. 8-10).

A consolidation looks at δ_l = TP·B_l and at the layer's own window, and says where on the layer's outputs a
gradient is put. The layer's own dynamics and synapse turn that into a weight change; nothing else is involved.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from snntorch_brp.activity import Activity
from snntorch_brp.eligibility_trace import EligibilityTrace
from snntorch_brp.layer_view import LayerView
from snntorch_brp.named import Named, make, table
from snntorch_brp.places import Places, check_places, with_adjoint


class Gradients(NamedTuple):
    """Where a consolidation puts its gradients, each ``[T or 1, B, *]`` or None for nothing.

    A leading axis of length 1 means the same at every step. Values are for one sample; the executor takes the
    mean over the batch.

    Example:
        >>> given = Gradients(spikes=torch.ones(1, 8, 100))  # pushes every neuron towards silence
    """

    spikes: Tensor | None = None  # in the place of ∂L/∂s_t
    membrane: Tensor | None = None  # in the place of ∂L/∂v_t
    current: Tensor | None = None  # in the place of ∂L/∂I_t: past the neuron, straight to the synapse
    traced: Tensor | None = None  # h_t that meets the eligibility trace of each synapse: Σ_t h_t e_t
    weights: Sequence[Tensor | None] = ()  # ∇W of each synapse as it is, summed over the batch; keeps "inputs"

    def folded(self, consolidation: Consolidation, window: Activity) -> Gradients:
        """The same without ``traced``, once the sequence is over: a gradient on the current gives ``Σ_t h_t e_t``, too.

        Args:
            consolidation: What gave them, and knows the trace.
            window: What the layer did.
        """
        if self.traced is None:
            return self
        current = consolidation.trace(window.layer).fold(self.traced, lambda: window.psi)
        return self._replace(traced=None, current=current if self.current is None else current + self.current)


class Consolidation(ABC):
    """A rule for how a layer learns. Write your own by subclassing it.

    Attributes:
        keeps: What of the window it looks at or puts a gradient on, beside the spikes: "membrane", "current" (also for
            ``traced``), "inputs". Nothing else is kept, to save memory. A class attribute, or a property where it
            depends on the options.
        compares_samples: It may look at all samples of a batch. A class with ``gradients`` of its own does, unless it
            says no; then it may be called with some samples at a time, which stay in cache.
        causal: What it gives at a step needs that step and :meth:`Activity.trace` alone, so that it can learn online.
        without_recurrence: Of a recurrent layer, what its own spikes did to it since has no part in the gradient.
        fusible: It asks for nothing that the fused engine does not give, such as learned values.
    """

    @property
    def keeps(self) -> frozenset[str]:
        """Nothing but spikes here."""
        return frozenset()

    compares_samples: ClassVar[bool] = True
    causal: ClassVar[bool] = False
    without_recurrence: ClassVar[bool] = False
    fusible: ClassVar[bool] = True

    def __init_subclass__(cls, **kw: object) -> None:
        super().__init_subclass__(**kw)
        computed = isinstance(cls.compares_samples, property)  # from the parts that one is made of
        if "gradients" in vars(cls) and "compares_samples" not in vars(cls) and not computed:
            cls.compares_samples = True

    def trace(self, layer: LayerView) -> EligibilityTrace:
        """What ``traced`` meets: the trace of the layer's own neurons here."""
        return layer.trace

    @abstractmethod
    def gradients(self, delta: Tensor, window: Activity) -> Gradients:
        """Gradients on a layer's outputs.

        Args:
            delta: δ_l = TP·B_l, ``[T or 1, B, *]``.
            window: What the layer did.
        """


@dataclass(frozen=True, kw_only=True)
class PseudoGradient(Consolidation):
    """δ_l in the place of ∂L/∂s_t at every step (eq. 10 and the authors' code).

    The gradient runs back through this layer's own time only; for τ_ref = 1 and zero potentials::

        a_t = ψ_t (δ_t - g a_{t+1} v_t) + g (1 - s_t) a_{t+1}
        ∇W = Σ_t a_t x_tᵀ,  ∇b = Σ_t a_t

    (without the middle term when the reset is detached).

    Example:
        >>> delta = torch.tensor([[[0.5, -0.5]]])
        >>> PseudoGradient().gradients(delta, Activity(torch.zeros(20, 1, 2))).spikes.tolist()
        [[[0.5, -0.5]]]
    """

    causal: ClassVar[bool] = True
    compares_samples: ClassVar[bool] = False

    def gradients(self, delta: Tensor, window: Activity) -> Gradients:
        """``∂L/∂s_t := δ_t``."""
        return Gradients(spikes=delta)


@dataclass(frozen=True, kw_only=True)
class StateDifference(Consolidation):
    """The local objective ½‖h_l - k TP·B_l‖² (eqs. 8-9), with h_l the membrane or the rate.

    Its target is a pattern of activity and not a direction, so it goes with a rule that sends the label, such as BRP.
    With k = 1, as the equations are printed, the target is small beside the threshold (entries of B_l are at most
    √(6/N)) and the layer learns to be silent; k = 5 to 20 teaches it a pattern for each class.

    Args:
        state: "membrane" asks every v_t to approach k δ_l; "rate" asks the mean spike rate to.
        gain: The factor k.

    Raises:
        ValueError: If ``state`` is neither.

    Example:
        >>> delta, window = torch.tensor([[[0.5, -0.5]]]), Activity(torch.ones(20, 1, 2))
        >>> (window.steps * StateDifference(state="rate").gradients(delta, window).spikes).tolist()
        [[[0.5, 1.5]]]
    """

    compares_samples: ClassVar[bool] = False

    state: Literal["membrane", "rate"] = "membrane"
    gain: float = 1.0

    def __post_init__(self) -> None:
        if self.state not in ("membrane", "rate"):
            raise ValueError(f"state must be 'membrane' or 'rate', got {self.state!r}")

    @property
    def keeps(self) -> frozenset[str]:
        """The membrane, where it is compared."""
        return frozenset({"membrane"} if self.state == "membrane" else ())

    def gradients(self, delta: Tensor, window: Activity) -> Gradients:
        """``∂L/∂v_t = v_t - k δ``, or ``∂L/∂s_t = (rate - k δ) / T``."""
        if self.state == "membrane":
            return Gradients(membrane=window.membrane - self.gain * delta)
        return Gradients(spikes=(window.rate - self.gain * delta) / window.steps)


@dataclass(frozen=True, kw_only=True)
class Correlation(Consolidation):
    """Turn the layer's activity towards a code of the class: the local objective ``-corr(rate, code)``.

    Comparing a layer's normalized activity with what a second network makes of the label, also one of fixed random
    weights, is counter-current learning (CCL; Kao and Hariharan, "Counter-Current Learning", NeurIPS 2024). Here that
    network has one layer, and every sample is compared with its own class's code alone.

    Under :class:`~snntorch_brp.propagation.BRP`, δ_l is one of K fixed random vectors, and the code is what a fixed
    random network makes of the label: δ_l itself, or with ``rectify`` its positive part, which spikes can reach. Only
    the direction of the activity counts, so the layer falls silent once it has the code, whatever its rate.

    Args:
        rectify: Put the code through a rectifier.

    Example:
        >>> delta, window = torch.tensor([[[0.5, -0.5]]]), Activity(torch.tensor([[[1.0, 0.0]]]))
        >>> Correlation().gradients(delta, window).spikes.abs().max().item() < 1e-6
        True
    """

    compares_samples: ClassVar[bool] = False

    rectify: bool = False

    def gradients(self, delta: Tensor, window: Activity) -> Gradients:
        """``∂L/∂s_t``, the same at every step: minus the part of the code that the activity does not have yet."""
        code = delta.mean(0).flatten(1)
        code = _direction(code.relu() if self.rectify else code)[0]
        activity, length = _direction(window.rate.flatten(1))
        gradient = -(code - (code * activity).sum(1, keepdim=True) * activity) / length
        return Gradients(spikes=gradient.view_as(window.rate)[None])


@dataclass(frozen=True, kw_only=True)
class SimilarityMatching(Consolidation):
    """Samples of one class shall be alike, and others not: ``¼ mean_ij (cos(rate_i, rate_j) - S_ij)²``.

    This is the similarity matching loss of Nøkland and Eidnes ("Training Neural Networks with Local Error Signals",
    ICML 2019), whose networks do not spike and compare what a trained layer of its own makes of the activity; here it
    is compared as it is. Theirs is ``center="sample", places="std", target="label"``.

    Args:
        center: What is subtracted from rates before their cosines are taken: "sample", each sample's mean over its
            neurons, as Nøkland and Eidnes do; "batch", each neuron's mean over the batch, held fixed in the gradient.
        places: Of a convolution: compare rates pooled to so many regions along each axis, or with "std" each channel's
            standard deviation over its places, as Nøkland and Eidnes do; None compares place by place. A rule that
            knows every place asks a class to look alike pixel by pixel.
        target: What S is: "sent", cosines of δ; "label", those of the label less 1/K, 1 within a class and -1/(K-1)
            between two.

    Raises:
        ValueError: If an option cannot be.

    Example:
        >>> delta, window = torch.eye(2)[None], Activity(torch.eye(2)[None])
        >>> SimilarityMatching().gradients(delta, window).spikes.abs().max().item() < 1e-6
        True
    """

    compares_samples: ClassVar[bool] = True

    center: Literal["batch", "sample"] = "batch"
    places: Places = None
    target: Literal["sent", "label"] = "sent"

    def __post_init__(self) -> None:
        if self.center not in ("batch", "sample"):
            raise ValueError(f"center must be 'batch' or 'sample', got {self.center!r}")
        if self.target not in ("sent", "label"):
            raise ValueError(f"target must be 'sent' or 'label', got {self.target!r}")
        check_places(self.places)

    def gradients(self, delta: Tensor, window: Activity) -> Gradients:
        """``∂L/∂s_t``, the same at every step."""
        wanted = self._wanted(delta, window)
        rate, back = with_adjoint(window.rate, self.places)
        mean = rate.mean(0 if self.center == "batch" else 1, keepdim=True)
        length = (rate - mean).norm(dim=1, keepdim=True).clamp(min=_TINY)
        activity = (rate - mean) / length
        alike = activity @ activity.T
        error = (alike - wanted) / len(rate)
        # A sample's own mean needs no term in the gradient: this sums to zero over its neurons.
        gradient = (error @ activity - (error * alike).sum(1, keepdim=True) * activity) / length
        return Gradients(spikes=back(gradient)[None])

    def _wanted(self, delta: Tensor, window: Activity) -> Tensor:
        """S, ``[B, B]``."""
        if self.target == "sent":
            sent = delta.mean(0).flatten(1)
        elif window.label is None:
            raise ValueError("SimilarityMatching(target='label') compares labels, and this window was given none")
        else:
            sent = window.label.mean(0) - 1 / window.label.shape[-1]
        sent = F.normalize(sent, dim=1)
        return sent @ sent.T


_TINY = 1e-6


def _direction(x: Tensor) -> tuple[Tensor, Tensor]:
    """``[B, N]`` without each row's mean, of length 1; and the lengths, ``[B, 1]``."""
    x = x - x.mean(1, keepdim=True)
    length = x.norm(dim=1, keepdim=True).clamp(min=_TINY)
    return x / length, length


def trace(x: Tensor, decay: float) -> Tensor:
    """Exponential trace over time: ``x̄_t = λ x̄_{t-1} + x_t``, starting from nothing.

    Args:
        x: Values x_t, ``[T, *]``; flip them in time, and the result, for a trace that runs backwards.
        decay: Decay λ per step.

    Returns:
        The trace, ``[T, *]``.

    Example:
        >>> trace(torch.tensor([1.0, 0.0, 2.0]), 0.5).tolist()
        [1.0, 0.5, 2.25]
    """
    steps = [x[0]]
    for x_t in x[1:]:
        steps.append(decay * steps[-1] + x_t)
    return torch.stack(steps)


@dataclass(frozen=True, kw_only=True)
class STDP(Consolidation):
    """Pair-based spike-timing-dependent plasticity, gated by the projected reward (the paper's replacement)::

        ∇W_ij = Σ_t δ_i (A₊ s_i(t) x̄_j(t) - A₋ s̄_i(t-1) x_j(t))

    with traces x̄ of the input spikes and s̄ of the layer's own. A pair of spikes is counted at the earlier one's
    trace; summed over time, the first term equals ``x_j(t)`` times a trace of ``s_i`` that runs backwards, so both
    are a gradient on the input current, whatever the synapse is.

    Nothing but spikes is needed, which hardware likes; but a neuron that does not fire does not learn, and the
    network learns less than with :class:`PseudoGradient`.

    Args:
        decay: Decay λ of both traces per step, in [0, 1).
        potentiation: A₊, for a spike of the layer after one of its input.
        depression: A₋, for a spike of the layer before one of its input.

    Raises:
        ValueError: If ``decay`` is out of range.

    Example:
        >>> window = Activity(torch.tensor([0.0, 1.0, 0.0]).reshape(3, 1, 1))
        >>> STDP(decay=0.5).gradients(torch.ones(1, 1, 1), window).current.flatten().tolist()
        [0.5, 1.0, -1.0]
    """

    compares_samples: ClassVar[bool] = False
    keeps: ClassVar[frozenset[str]] = frozenset({"current"})

    decay: float = 0.5
    potentiation: float = 1.0
    depression: float = 1.0

    def __post_init__(self) -> None:
        _check_decay(self.decay)

    def gradients(self, delta: Tensor, window: Activity) -> Gradients:
        """``∂L/∂I_t = A₊ (trace of δ s, backwards)_t - A₋ δ_t s̄_{t-1}``."""
        s = window.spikes
        after = trace((delta * s).flip(0), self.decay).flip(0)
        before = torch.cat([torch.zeros_like(s[:1]), trace(s, self.decay)[:-1]])
        return Gradients(current=self.potentiation * after - self.depression * delta * before)


@dataclass(frozen=True, kw_only=True)
class DifferentialHebb(Consolidation):
    """Input spikes times the change of the layer's own activity, gated by the projected reward::

        ∇W_ij = Σ_t δ_i (s̄_i(t) - s̄_i(t-1)) x_j(t)

    with s̄ a trace of the layer's spikes: the rate-coded sibling of :class:`STDP`, with its virtues and limits.

    Args:
        decay: Decay λ of the trace per step, in [0, 1).

    Raises:
        ValueError: If ``decay`` is out of range.

    Example:
        >>> window = Activity(torch.tensor([0.0, 1.0, 0.0]).reshape(3, 1, 1))
        >>> DifferentialHebb(decay=0.5).gradients(torch.ones(1, 1, 1), window).current.flatten().tolist()
        [0.0, 1.0, -0.5]
    """

    compares_samples: ClassVar[bool] = False
    keeps: ClassVar[frozenset[str]] = frozenset({"current"})

    decay: float = 0.5

    def __post_init__(self) -> None:
        _check_decay(self.decay)

    def gradients(self, delta: Tensor, window: Activity) -> Gradients:
        """``∂L/∂I_t = δ_t (s̄_t - s̄_{t-1})``."""
        s_bar = trace(window.spikes, self.decay)
        return Gradients(current=delta * torch.diff(s_bar, dim=0, prepend=torch.zeros_like(s_bar[:1])))


def _check_decay(decay: float) -> None:
    if not 0 <= decay < 1:
        raise ValueError(f"decay must lie in [0, 1), got {decay}")


CONSOLIDATIONS: Mapping[str, Named[Consolidation]] = table(
    {
        "pseudo-gradient": Named(make=PseudoGradient, title="pseudo-gradient", color="#1f77b4"),
        "state-difference": Named(make=StateDifference, title="state difference", color="#8c564b"),
        "correlation": Named(make=Correlation, title="correlation", color="#9467bd"),
        "similarity-matching": Named(make=SimilarityMatching, title="similarity matching", color="#17becf"),
        "stdp": Named(make=STDP, title="STDP", color="#ff7f0e"),
        "differential-hebb": Named(make=DifferentialHebb, title="differential Hebb", color="#bcbd22"),
    }
)
"""The consolidations by name; the command line, figures and studies all read this table."""


def consolidation_named(name: str) -> Consolidation:
    """A consolidation with its usual options, by the name that the command line uses.

    Args:
        name: One of ``CONSOLIDATIONS``, in any case, or ``module:Class`` for one of your own.

    Raises:
        ValueError: If there is no such consolidation; the message lists the names.

    Example:
        >>> consolidation_named("stdp")
        STDP(decay=0.5, potentiation=1.0, depression=1.0)
    """
    return make(name, CONSOLIDATIONS, Consolidation)  # type: ignore[type-abstract]
