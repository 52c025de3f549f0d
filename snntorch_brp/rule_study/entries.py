"""The rules of the study, and the two between which they should lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from snntorch_brp.propagation import BRP, Backprop, OutputOnly, Propagation, RewardPrediction
from snntorch_brp.rules import DECOLLE, ELL, OWN_DATA, RULES, EProp, LocalRule


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A rule with its options.

    Attributes:
        make: Makes the rule.
        title: What figures call it.
        local: No error travels through other layers' weights, and none back through time behind the layer.
        one_hidden_layer: Whether it asks for a network with one hidden layer.
        flat: Whether its labels lie beside flat inputs, so that the network cannot convolve.
        learns: Whether hidden layers learn at all, so that there is a rate to choose.
    """

    make: Callable[[], Propagation | LocalRule]
    title: str
    local: bool = True
    one_hidden_layer: bool = False
    flat: bool = False
    learns: bool = True


_TITLES = {
    "drtp": "DRTP",
    "dfa": "DFA",
    "sdfa": "sDFA",
    "decolle": "DECOLLE",
    "ell": "ELL",
    "etlp": "ETLP",
    "ottt": "OTTT (= OSTL)",
}
_GLOBAL = ("ottt",)
SAME = {"drtp": "brp", "osttp": "brp", "ostl": "ottt"}
"""Rules that do here, number for number, what another does: where each has its traces, its layers are the same."""

ENTRIES: Mapping[str, Entry] = {
    "backprop": Entry(make=Backprop, title="backpropagation through time", local=False),
    "output-only": Entry(make=OutputOnly, title="hidden layers at rest", learns=False),
    "brp": Entry(make=BRP, title="BRP (= DRTP, OSTTP)"),
    "reward-prediction": Entry(make=RewardPrediction, title="RewardPrediction"),
    **{
        name: Entry(make=rule, title=_TITLES.get(name, name), local=name not in _GLOBAL, flat=name in OWN_DATA)
        for name, rule in RULES.items()
        if name not in SAME
    },
    "e-prop-symmetric": Entry(
        make=lambda: EProp(feedback="symmetric"), title="e-prop, symmetric", local=False, one_hidden_layer=True
    ),
    "e-prop-adaptive": Entry(make=lambda: EProp(feedback="adaptive"), title="e-prop, adaptive"),
    "fell": Entry(make=lambda: ELL(feedback="random"), title="FELL"),
    "decolle-learned": Entry(make=lambda: DECOLLE(learning_rate=1e-3), title="DECOLLE, learned readout"),
}
"""By the names under which finished trainings are stored."""
