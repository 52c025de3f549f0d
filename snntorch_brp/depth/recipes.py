"""What is compared: label-only rules for convolutions, and what stands beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from snntorch_brp.consolidation import Consolidation, SimilarityMatching
from snntorch_brp.propagation import BRP, Backprop, OutputOnly, Propagation
from snntorch_brp.reading import PooledReading
from snntorch_brp.rules import PredSim

REGIONS = 4  # along each axis, within which a channel's rates are pooled before they are compared or read


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A rule with its options.

    Attributes:
        title: What tables and figures call it.
        propagation: What is sent.
        consolidation: How a layer learns from it; the pseudo-gradient where None.
        label_only: A layer sees the label, what it did itself, and its fixed B_l.
        flat: It trains the setting's network without convolutions behind the first.
    """

    title: str
    propagation: Propagation
    consolidation: Consolidation | None = None
    label_only: bool = True
    flat: bool = False

    @property
    def competes(self) -> bool:
        """Whether the trials may choose it: the label alone teaches convolutions."""
        return self.label_only and not self.flat


_BOTH = PredSim(places=REGIONS)
_READING = PooledReading(places=REGIONS)
_SIMILARITY = SimilarityMatching(places=REGIONS, target="label")

RECIPES: Mapping[str, Recipe] = {
    "similarity-reading": Recipe(
        title="similarity and reading",
        propagation=_BOTH.propagation,
        consolidation=_BOTH.consolidation,
    ),
    "similarity": Recipe(title="similarity matching", propagation=BRP(centered=True), consolidation=_SIMILARITY),
    "reading": Recipe(title="pooled reading", propagation=_READING),
    "brp-centered": Recipe(title="BRP, centered labels", propagation=BRP(centered=True)),
    "backprop": Recipe(title="pseudo-BP", propagation=Backprop(), label_only=False),
    "rest": Recipe(title="convolutions at rest", propagation=OutputOnly(), label_only=False),
    "flat": Recipe(
        title="one fully connected layer, similarity and reading",
        propagation=_BOTH.propagation,
        consolidation=_BOTH.consolidation,
        flat=True,
    ),
}
"""By the names under which trainings are stored."""

BESIDE = ("backprop", "rest", "flat")
"""What the rule that the trials choose is trained beside, for about as many seconds."""
