"""The rules by their names: the table that ``attach``, the command line and the documentation read."""

from __future__ import annotations

from collections.abc import Sequence

from snntorch_brp.propagation import Propagation, propagation_named
from snntorch_brp.rules.contrast import CCL, PredSim, SimilarityLoss
from snntorch_brp.rules.decolle import DECOLLE
from snntorch_brp.rules.eprop import EProp
from snntorch_brp.rules.espp import ESPP
from snntorch_brp.rules.forward_forward import SpikingForwardForward
from snntorch_brp.rules.instant import OSTL, OTTT
from snntorch_brp.rules.local_classifiers import ELL
from snntorch_brp.rules.projections import DFA, DRTP, SDFA
from snntorch_brp.rules.reward import RewardModulatedSTDP
from snntorch_brp.rules.rule import LocalRule
from snntorch_brp.rules.stllr import STLLR
from snntorch_brp.rules.target_traces import ETLP, OSTTP
from snntorch_brp.rules.traces_propagation import TracesPropagation

_ALL: Sequence[type[LocalRule]] = (
    *(DRTP, DFA, SDFA, DECOLLE, ELL, ETLP, OSTTP, EProp, STLLR, OTTT, OSTL),
    *(RewardModulatedSTDP, SpikingForwardForward, TracesPropagation, ESPP, CCL, SimilarityLoss, PredSim),
)
RULES: dict[str, type[LocalRule]] = {rule.facts.name: rule for rule in _ALL}


OWN_DATA = ("forward-forward", "tp")
"""The rules that need batches of their own making, which a trainer does not make."""
TRAINED = tuple(name for name in RULES if name not in OWN_DATA)
"""The rules that a trainer runs."""


def trained_rule(name: str) -> LocalRule | Propagation:
    """A rule by name, as :func:`rule_named`, that a trainer can run.

    Raises:
        ValueError: If there is none, or it needs batches of its own making.
    """
    rule = rule_named(name)
    if isinstance(rule, LocalRule) and rule.facts.name in OWN_DATA:
        raise ValueError(
            f"{name!r} is not for a trainer, since it needs batches of its own making: use it in a loop of your own, "
            f"attach(net, {name!r}, ...); trainers run {', '.join(TRAINED)}"
        )
    return rule


def rule_named(name: str) -> LocalRule | Propagation:
    """A rule with its usual settings by its name in the field, or a propagation by its own.

    Args:
        name: One of ``RULES`` or of the propagations and their other names, in any case.

    Raises:
        ValueError: If there is neither; the message lists the names.

    Example:
        >>> rule_named("decolle")
        DECOLLE(loss='mse', learning_rate=0.0)
    """
    try:
        return propagation_named(name)  # what "dfa" sends goes with any consolidation
    except ValueError as error:
        if rule := RULES.get(name.lower()):
            return rule()
        raise ValueError(f"{error}; and the rules {', '.join(RULES)}") from None


def table() -> str:
    """The rules and what they ask of a network, as a Markdown table."""
    rows = [("name", "paper", "a layer sees", "learns", "remembers", "weights transported")]
    for name, rule in RULES.items():
        facts = rule.facts
        shown = f"`{name}` (`{rule.__name__}`)"
        rows.append((shown, facts.paper, facts.sees, facts.learns, facts.remembers, facts.transports))
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body])
