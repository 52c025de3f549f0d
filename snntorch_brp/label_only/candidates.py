"""The rules of the label-only study: those that compete, and those that stand beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from snntorch_brp.consolidation import Consolidation, Correlation, SimilarityMatching
from snntorch_brp.propagation import BRP, PROPAGATIONS, Propagation, RewardPrediction


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A rule with its options.

    Attributes:
        rule: Name of its line in the table of rules.
        title: What figures call it.
        propagation: What is sent.
        consolidation: How a layer learns from it; the pseudo-gradient where None.

    Raises:
        ValueError: If ``propagation`` is not the rule that the table has under that name.
    """

    rule: str
    title: str
    propagation: Propagation
    consolidation: Consolidation | None = None

    def __post_init__(self) -> None:
        expected = type(PROPAGATIONS[self.rule].make()) if self.rule in PROPAGATIONS else None
        if type(self.propagation) is not expected:
            raise ValueError(f"{self.title}: {self.propagation} is not the rule {self.rule!r} of the table")

    @property
    def label_only(self) -> bool:
        """Whether it competes: a layer sees the label, what it did itself and its fixed B_l."""
        return PROPAGATIONS[self.rule].label_only


BASELINES = ("brp", "backprop", "output-only")
"""What the best candidate is tested beside."""

COMPARED = ("error",)
"""Rules that are tried besides, and do not compete."""


def _usual(name: str) -> Candidate:
    return Candidate(rule=name, title=PROPAGATIONS[name].title, propagation=PROPAGATIONS[name].make())


CANDIDATES: Mapping[str, Candidate] = {
    **{name: _usual(name) for name, rule in PROPAGATIONS.items() if rule.label_only},
    "brp-centered": Candidate(rule="brp", title="BRP, centered labels", propagation=BRP(centered=True)),
    "code": Candidate(rule="brp", title="BRP, correlation with δ_l", propagation=BRP(), consolidation=Correlation()),
    "code-rectified": Candidate(
        rule="brp",
        title="BRP, correlation with a rectified random code",
        propagation=BRP(),
        consolidation=Correlation(rectify=True),
    ),
    "similarity": Candidate(
        rule="brp",
        title="BRP, similarity matching",
        propagation=BRP(centered=True),
        consolidation=SimilarityMatching(),
    ),
    "reward-prediction-mild": Candidate(
        rule="reward-prediction", title="RewardPrediction, κ = 1.5", propagation=RewardPrediction(kappa=1.5)
    ),
    "reward-prediction-cosine": Candidate(
        rule="reward-prediction",
        title="RewardPrediction, cosine, κ = 10",
        propagation=RewardPrediction(kappa=10, cosine=True),
    ),
    **{name: _usual(name) for name in (*COMPARED, *BASELINES) if not PROPAGATIONS[name].label_only},
}
"""By the names under which finished trainings are stored: every label-only rule of the table, variants, baselines."""
