"""What is sent to the hidden layers (eqs. 4-7).

Every rule is one class with one method that maps what a layer may see to its signal TP. The signal reaches the
layer through its fixed random matrix, δ_l = TP·B_l, and :mod:`snntorch_brp.consolidation` makes a weight change of
it. Shapes: batch B, classes K, neurons ``*`` (any shape); the leading axis of labels, signals and δ is time, of
length T, or of length 1 where the value is the same at every step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from snntorch_brp.activity import Activity
from snntorch_brp.encoding import label_spikes
from snntorch_brp.named import Named, make, table


def project(signal: Tensor, feedback: Tensor) -> Tensor:
    """δ_l = TP·B_l: ``[T or 1, B, K]`` through ``[K, *]`` to ``[T or 1, B, *]``."""
    return (signal @ feedback.flatten(1)).unflatten(-1, feedback.shape[1:])


class Propagation(ABC):
    """A rule for what is sent to the hidden layers. Write your own by subclassing it.

    Attributes:
        local: Spikes are cut between layers. Only true backpropagation says no.
        needs_output: The signal waits for the output rate y (update locking). Where it does not, a layer can
            learn, and be forgotten, as soon as it has run.
        reads_classes: Label and prediction are distributions over classes; real-valued targets do not fit.
        needs_label: The rule is taught by labels; one that is not can be called without them.
        every_step: The output is given at every step, ``[T, B, K]``, and not as the mean rate.
        spatial: The signal is the loss's own gradient at a step, brought back through the layers behind within that
            step: global in space, local in time.
        fusible: It asks for nothing that the fused engine does not give, such as learned values.
        compares_samples: ``signal`` may look at all samples of a batch, or learn values of its own from them. A class
            with a ``signal`` of its own does, unless it says no; then it may be called with some samples at a time,
            which stay in cache.
    """

    local: ClassVar[bool] = True
    needs_output: ClassVar[bool] = False
    reads_classes: ClassVar[bool] = False
    needs_label: ClassVar[bool] = True
    every_step: ClassVar[bool] = False
    spatial: ClassVar[bool] = False
    fusible: ClassVar[bool] = True
    compares_samples: ClassVar[bool] = True

    def __init_subclass__(cls, **kw: object) -> None:
        super().__init_subclass__(**kw)
        if "signal" in vars(cls) and "compares_samples" not in vars(cls):
            cls.compares_samples = True

    @property
    def keeps(self) -> frozenset[str]:
        """What of the window it looks at, beside the spikes: "membrane", "current", "inputs"; nothing here."""
        return frozenset()

    def label(self, labels: Tensor, num_classes: int, steps: int, dtype: torch.dtype) -> Tensor:
        """The label ȳ that all layers receive: class numbers ``[B]`` to ``[T or 1, B, K]``; one-hot here."""
        return label_spikes(labels, num_classes, 1, dtype=dtype)

    @abstractmethod
    def signal(self, label: Tensor, *, window: Activity, feedback: Tensor, output: Tensor | None) -> Tensor | None:
        """The signal TP for one hidden layer.

        Args:
            label: ȳ, ``[T or 1, B, K]``, from :meth:`label`.
            window: What the layer itself did; ``window.rate`` is its mean spike rate, ``[B, *]``.
            feedback: The layer's own B_l, ``[K, *]``.
            output: The network's output rate y, ``[B, K]``, or ``[T, B, K]`` where there is a label for every step;
                None unless ``needs_output``.

        Returns:
            TP, ``[T or 1, B, K]``, or None for a layer that does not learn.
        """

    def delta(self, label: Tensor, *, window: Activity, feedback: Tensor, output: Tensor | None) -> Tensor | None:
        """What reaches the layer, δ_l = TP·B_l, ``[T or 1, B, *]``; override it to send by another way than B_l.

        Args and None as in :meth:`signal`.
        """
        signal = self.signal(label, window=window, feedback=feedback, output=output)
        return None if signal is None else project(signal, feedback)


@dataclass(frozen=True, kw_only=True)
class BRP(Propagation):
    """Biologically plausible reward propagation (eq. 5): ``TP = ȳ``, the label and nothing else.

    Sending the label through a fixed random matrix is direct random target projection (DRTP; Frenkel, Lefebvre, Bol,
    "Learning Without Feedback", arXiv 2019, Frontiers in Neuroscience 2021); BRP is that in a spiking network.

    With ``centered`` the signal ``ȳ - 1/K`` is, but for its sign, the limit κ -> 0 of :class:`RewardPrediction`: a
    layer that reads nothing predicts every class alike. The sign is that of B_l, whose entries are as often negative
    as positive.

    Args:
        label_rate: Probability that the label neuron fires at a step (eq. 4); 1 is one-hot at every step.
        stepwise: Send Label_spikes(t) step by step instead of its mean ȳ.
        generator: Source of the Bernoulli label spikes.
        centered: Send ``ȳ - 1/K``, so that the sum over all classes pushes nothing.

    Example:
        >>> rule = BRP()
        >>> label = rule.label(torch.tensor([2]), num_classes=3, steps=20, dtype=torch.float32)
        >>> rule.signal(label, window=Activity(torch.zeros(20, 1, 4)), feedback=torch.zeros(3, 4), output=None).tolist()
        [[[0.0, 0.0, 1.0]]]
    """

    compares_samples: ClassVar[bool] = False

    label_rate: float = 1.0
    stepwise: bool = False
    generator: torch.Generator | None = None
    centered: bool = False

    def label(self, labels: Tensor, num_classes: int, steps: int, dtype: torch.dtype) -> Tensor:
        """Label_spikes(t), ``[T, B, K]``, or their mean ȳ, ``[1, B, K]``."""
        if self.label_rate == 1:
            return super().label(labels, num_classes, steps, dtype)
        spikes = label_spikes(labels, num_classes, steps, rate=self.label_rate, generator=self.generator, dtype=dtype)
        return spikes if self.stepwise else spikes.mean(0, keepdim=True)

    def signal(self, label: Tensor, *, window: Activity, feedback: Tensor, output: Tensor | None) -> Tensor:
        """``TP = ȳ``, or ``ȳ - 1/K``."""
        return label - 1 / label.shape[-1] if self.centered else label


@dataclass(frozen=True, kw_only=True)
class RewardPrediction(Propagation):
    """Reward minus the layer's own prediction of it: ``TP = p_l - ȳ`` with::

        p_l = softmax(κ B_l·rate_l / (mean row norm of B_l)²)

    The layer reads the reward from its own activity through the same fixed B_l that brings the label, and is sent
    nothing once it predicts it. Label only, like BRP: nothing of any other layer is seen.

    This is a fixed random local classifier (Mostafa, Ramesh, Cauwenberghs, "Deep Supervised Learning Using Local
    Errors", Frontiers in Neuroscience 2018; in spiking networks DECOLLE, Kaiser, Mostafa, Neftci, Frontiers in
    Neuroscience 2020; with a softmax LLS and TESS, Apolinario et al. 2025) whose matrix is the one that brings the
    label in BRP; it reads rates over the whole window.

    With ``cosine`` it reads the direction of its activity alone, ``p_l = softmax(κ cos(B_l, rate_l - mean rate))``:
    in a large layer the product of rates and B_l grows with the number of neurons, so that the softmax saturates early
    in training; the cosine does not grow.

    Args:
        kappa: Inverse temperature κ of the reading; with ``cosine`` about 10.
        cosine: Read the direction of the activity.

    Example:
        >>> silent, label = Activity(torch.zeros(20, 1, 4)), torch.tensor([[[0.0, 1.0]]])
        >>> RewardPrediction().signal(label, window=silent, feedback=torch.ones(2, 4), output=None).tolist()
        [[[0.5, -0.5]]]
    """

    reads_classes: ClassVar[bool] = True
    compares_samples: ClassVar[bool] = False

    kappa: float = 5.0
    cosine: bool = False

    def signal(self, label: Tensor, *, window: Activity, feedback: Tensor, output: Tensor | None) -> Tensor:
        """``TP = p_l - ȳ``."""
        B_l, rate = feedback.flatten(1), window.rate.flatten(1)
        if self.cosine:
            rate = rate - rate.mean(1, keepdim=True)
            reading = F.normalize(rate, dim=1) @ F.normalize(B_l, dim=1).T
        else:
            reading = rate @ B_l.T / B_l.norm(dim=1).mean() ** 2
        return torch.softmax(self.kappa * reading, dim=1) - label


def _known(output: Tensor | None, rule: Propagation) -> Tensor:
    if output is None:
        raise ValueError(
            f"{type(rule).__name__} compares the network's output rate y with the label, and got output=None"
        )
    return output


@dataclass(frozen=True, kw_only=True)
class ErrorProjection(Propagation):
    """Direct feedback alignment (eq. 6): ``TP = y - ȳ``.

    Example:
        >>> label, y = torch.tensor([[[0.0, 1.0]]]), torch.tensor([[0.25, 0.75]])
        >>> ErrorProjection().signal(label, window=None, feedback=None, output=y).tolist()
        [[[0.25, -0.25]]]
    """

    compares_samples: ClassVar[bool] = False
    needs_output: ClassVar[bool] = True

    def signal(self, label: Tensor, *, window: Activity, feedback: Tensor, output: Tensor | None) -> Tensor:
        """``TP = y - ȳ``."""
        return _known(output, self) - label


@dataclass(frozen=True, kw_only=True)
class SignProjection(Propagation):
    """Sign of the error, direct feedback alignment with signs alone (eq. 7): ``TP = sign(y - ȳ)``.

    Example:
        >>> label, y = torch.tensor([[[0.0, 1.0]]]), torch.tensor([[0.25, 0.75]])
        >>> SignProjection().signal(label, window=None, feedback=None, output=y).tolist()
        [[[1.0, -1.0]]]
    """

    compares_samples: ClassVar[bool] = False
    needs_output: ClassVar[bool] = True

    def signal(self, label: Tensor, *, window: Activity, feedback: Tensor, output: Tensor | None) -> Tensor:
        """``TP = sign(y - ȳ)``."""
        return torch.sign(_known(output, self) - label)


@dataclass(frozen=True, kw_only=True)
class Backprop(Propagation):
    """The pseudo-BP baseline: the true gradient, through all layers and all steps.

    Example:
        >>> Backprop().local
        False
    """

    compares_samples: ClassVar[bool] = False
    local: ClassVar[bool] = False
    needs_output: ClassVar[bool] = True

    def signal(self, label: Tensor, *, window: Activity, feedback: Tensor, output: Tensor | None) -> None:
        """Nothing is sent: autograd brings the error back."""


@dataclass(frozen=True, kw_only=True)
class OutputOnly(Propagation):
    """The baseline that every rule must beat: hidden layers stay as they were drawn, the output learns.

    Example:
        >>> OutputOnly().signal(torch.ones(1, 1, 2), window=None, feedback=None, output=None) is None
        True
    """

    compares_samples: ClassVar[bool] = False

    def signal(self, label: Tensor, *, window: Activity, feedback: Tensor, output: Tensor | None) -> None:
        """Nothing is sent."""


@dataclass(frozen=True, kw_only=True)
class Rule(Named[Propagation]):
    """A line of the table of rules.

    Attributes:
        label_only: A layer sees nothing but the label, what it did itself, and its fixed B_l: such rules compete in
            the label-only study.
        calibrated: Training starts from weights under which every layer fires, because hidden layers never learn to.
    """

    label_only: bool = False
    calibrated: bool = False


PROPAGATIONS: Mapping[str, Rule] = table(
    {
        "brp": Rule(make=BRP, title="TP_BRP", color="#d62728", label_only=True, aliases=("drtp",)),
        "error": Rule(make=ErrorProjection, title="TP_err", color="#1f77b4", aliases=("dfa", "error-projection")),
        "sign": Rule(make=SignProjection, title="TP_sign", color="#2ca02c", aliases=("sdfa", "sign-projection")),
        "reward-prediction": Rule(make=RewardPrediction, title="RewardPrediction", color="#9467bd", label_only=True),
        "backprop": Rule(make=Backprop, title="pseudo-BP", color="#333333", aliases=("bptt", "bp")),
        "output-only": Rule(
            make=OutputOnly, title="OutputOnly", color="#999999", calibrated=True, aliases=("shallow",)
        ),
    }
)
"""The rules by name, in the order of figures; the command line, figures, budgets and studies all read this table."""


def propagation_named(name: str) -> Propagation:
    """A rule with its usual options, by the name that the command line and the figures use, or by the field's own.

    Args:
        name: One of ``PROPAGATIONS`` or of their aliases, in any case, or ``module:Class`` for one of your own.

    Raises:
        ValueError: If there is no such rule; the message lists the names.

    Example:
        >>> propagation_named("dfa")
        ErrorProjection()
    """
    return make(name, PROPAGATIONS, Propagation)  # type: ignore[type-abstract]
