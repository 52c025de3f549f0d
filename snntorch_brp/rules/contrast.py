"""Codes and similarities in the place of errors: counter-current learning, similarity matching, and with a reading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from snntorch_brp.composition import Sum
from snntorch_brp.consolidation import Correlation, PseudoGradient, SimilarityMatching
from snntorch_brp.places import check_places
from snntorch_brp.propagation import BRP
from snntorch_brp.reading import PooledReading
from snntorch_brp.rules.rule import Facts, LocalRule


@dataclass(frozen=True, kw_only=True)
class CCL(LocalRule):
    """Counter-current learning with a fixed feedback network of one layer: a layer learns a code of the label::

        L_l = -cos(h_l, g_l(y*))

    with h_l the layer's mean rates and ``g_l(y*)`` what a network of random weights makes of the label, both without
    their means. In the paper the feedback network has as many layers as the forward one, learns, and samples are
    compared with each other in the batch; here it is B_l and a rectifier, is fixed (a case that the paper measures),
    and every sample is compared with the code of its own class.

    Kao, Hariharan, "Counter-Current Learning: A Biologically Plausible Dual Network Approach for Deep Learning",
    NeurIPS 2024.

    Example:
        >>> CCL().consolidation
        Correlation(rectify=True)
    """

    facts: ClassVar[Facts] = Facts(
        name="ccl",
        paper="Kao, Hariharan, Counter-Current Learning, NeurIPS 2024 (fixed feedback network of one layer)",
        sees="the label",
        learns="as soon as it has run",
        remembers="its own sequence",
        transports="no",
    )

    propagation = BRP()
    consolidation = Correlation(rectify=True)


@dataclass(frozen=True, kw_only=True)
class SimilarityLoss(LocalRule):
    """Similarity matching: samples of one class shall be alike, and others not::

        L_l = ‖S(h_l) - S(y*)‖²

    with S the matrix of the cosines of all pairs of samples, each without its mean over the neurons; here those of
    what was sent, ``B_l y*``, stand in the place of ``S(y*)``.

    Nøkland, Eidnes, "Training Neural Networks with Local Error Signals", ICML 2019, whose networks do not spike, and
    which add a learned local classifier.

    Example:
        >>> SimilarityLoss().consolidation.center
        'sample'
    """

    facts: ClassVar[Facts] = Facts(
        name="similarity",
        paper="Nøkland, Eidnes, Training Neural Networks with Local Error Signals, ICML 2019",
        sees="the labels of the batch",
        learns="as soon as the batch has run",
        remembers="the sequences of the batch",
        transports="no",
    )

    propagation = BRP()
    consolidation = SimilarityMatching(center="sample")


@dataclass(frozen=True, kw_only=True)
class PredSim(LocalRule):
    """Similarity matching and the layer's own reading of the label, both on pooled rates, added up::

        L_l = β ¼ ‖S(h_l) - S(y*)‖² + (1 - β) (-log softmax(κ cos(B_l, h_l))_y*)

    with S the cosines of all pairs of samples of a batch, and h_l the layer's rates, of a convolution pooled to a few
    regions. It is the rule by which convolutions learn best here from the label alone.

    The sum is "predsim" of Nøkland, Eidnes, "Training Neural Networks with Local Error Signals", ICML 2019, whose
    networks do not spike and whose readers learn, with β = 0.99; here the reader is the fixed B_l, as in Mostafa,
    Ramesh, Cauwenberghs, "Deep Supervised Learning Using Local Errors", Frontiers in Neuroscience 2018.

    Args:
        beta: Weight β of the similarities; the reading has the rest.
        kappa: Inverse temperature κ of the reading.
        places: Regions along each axis of a convolution that rates are pooled to.

    Raises:
        ValueError: If ``beta`` is not between 0 and 1, or ``places`` cannot be.

    Example:
        >>> PredSim(beta=0.9).consolidation.parts[0][0]
        0.9
    """

    facts: ClassVar[Facts] = Facts(
        name="predsim",
        paper="Nøkland, Eidnes, Training Neural Networks with Local Error Signals, ICML 2019 (fixed reader)",
        sees="the labels of the batch, and its reading through B_l",
        learns="as soon as the batch has run",
        remembers="the sequences of the batch",
        transports="no",
    )

    beta: float = 0.5
    kappa: float = 10.0
    places: int = 4

    def __post_init__(self) -> None:
        if not 0 <= self.beta <= 1:
            raise ValueError(f"beta must be between 0 and 1, got {self.beta!r}")
        check_places(self.places)

    @property
    def propagation(self) -> PooledReading:
        """The gradient of the reading."""
        return self.part(PooledReading)

    @property
    def consolidation(self) -> Sum:
        """That gradient, and the one of the similarities."""
        similarity = SimilarityMatching(places=self.places, target="label")
        return Sum([(self.beta, similarity), (1 - self.beta, PseudoGradient())])
