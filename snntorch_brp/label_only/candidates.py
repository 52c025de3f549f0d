"""The rungs of the ladder: rules that need the label alone, and what stands beside them."""

from __future__ import annotations

from dataclasses import dataclass

from snntorch_brp.consolidation import Consolidation, Correlation, SimilarityMatching
from snntorch_brp.propagation import BRP, Backprop, ErrorProjection, OutputOnly, Propagation, RewardPrediction


@dataclass(frozen=True)
class Rung:
    """A rule.

    Attributes:
        title: What it is, in a few words.
        propagation: What is sent.
        consolidation: How a layer learns from it; the pseudo-gradient where None.
        label_only: Whether it competes: a layer sees the label, its own window and its fixed B_l.
    """

    title: str
    propagation: Propagation
    consolidation: Consolidation | None = None
    label_only: bool = True


RUNGS = {
    "brp": Rung("BRP, as printed", BRP()),
    "brp-centered": Rung("BRP, centered labels", BRP(centered=True)),
    "code": Rung("correlation with δ_l", BRP(), Correlation()),
    "code-rectified": Rung("correlation with a rectified random code", BRP(), Correlation(rectify=True)),
    "similarity": Rung("similarity matching", BRP(centered=True), SimilarityMatching()),
    "reward-prediction": Rung("RewardPrediction, κ = 5", RewardPrediction()),
    "reward-prediction-mild": Rung("RewardPrediction, κ = 1.5", RewardPrediction(kappa=1.5)),
    "reward-prediction-cosine": Rung("RewardPrediction, cosine, κ = 10", RewardPrediction(kappa=10, cosine=True)),
    "error": Rung("ErrorProjection", ErrorProjection(), label_only=False),
    "backprop": Rung("pseudo-BP", Backprop(), label_only=False),
    "output-only": Rung("OutputOnly", OutputOnly(), label_only=False),
}
BESIDE = ("brp", "backprop", "output-only")  # what the best rung is tested beside
