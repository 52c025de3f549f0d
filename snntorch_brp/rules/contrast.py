"""Codes and similarities in the place of errors: counter-current learning and similarity matching."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from snntorch_brp.consolidation import Correlation, SimilarityMatching
from snntorch_brp.propagation import BRP
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
