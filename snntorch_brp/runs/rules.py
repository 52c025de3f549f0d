"""The rules by the names that a shell gives them: one name a rule, the field's own names, or a class of the user's.

The name of a rule is that of its class in small letters: ``reward-prediction`` is ``RewardPrediction``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from snntorch_brp.consolidation import (
    STDP,
    Consolidation,
    Correlation,
    DifferentialHebb,
    PseudoGradient,
    SimilarityMatching,
    StateDifference,
)
from snntorch_brp.propagation import (
    BRP,
    Backprop,
    ErrorProjection,
    OutputOnly,
    Propagation,
    RewardPrediction,
    SignProjection,
)
from snntorch_brp.rules import RULES, LocalRule

PROPAGATIONS: dict[str, Callable[[], Propagation]] = {
    "brp": BRP,
    "reward-prediction": RewardPrediction,
    "error": ErrorProjection,
    "sign": SignProjection,
    "backprop": Backprop,
    "output-only": OutputOnly,
}
CONSOLIDATIONS: dict[str, Callable[[], Consolidation]] = {
    "pseudo-gradient": PseudoGradient,
    "stdp": STDP,
    "differential-hebb": DifferentialHebb,
    "state-difference": StateDifference,
    "correlation": Correlation,
    "similarity-matching": SimilarityMatching,
}
NAMED_RULES: dict[str, Callable[[], LocalRule]] = {  # which say themselves how a layer learns
    name: RULES[name] for name in ("decolle", "etlp", "osttp", "e-prop", "s-tllr", "r-stdp", "ccl", "similarity")
}
ALIASES = {
    "drtp": "brp",  # direct random target projection
    "dfa": "error",  # direct feedback alignment
    "sdfa": "sign",  # its sign alone
    "error-projection": "error",
    "sign-projection": "sign",
}


def propagation_named(name: str) -> Propagation | LocalRule:
    """The propagation or the whole rule of that name, or of a class ``module:Class``.

    Raises:
        ValueError: If there is none; the message says what is wrong.
    """
    if name in NAMED_RULES:
        return NAMED_RULES[name]()
    found: Propagation = _named(name, {**PROPAGATIONS, **NAMED_RULES}, Propagation)
    return found


def consolidation_named(name: str) -> Consolidation:
    """The consolidation of that name, or of a class ``module:Class``.

    Raises:
        ValueError: If there is none; the message says what is wrong.
    """
    found: Consolidation = _named(name, CONSOLIDATIONS, Consolidation)
    return found


def canonical(name: str) -> str:
    """The rule's own name for one of the field's; other names as they are."""
    return ALIASES.get(name, name)


def _named(name: str, table: Mapping[str, Callable[[], Any]], kind: type) -> Any:
    what = kind.__name__.lower()
    name = canonical(name)
    if name in table:
        return table[name]()
    if ":" not in name:
        raise ValueError(
            f"there is no {what} {name!r}: choose from {', '.join(table)}, or name a class of yours as module:Class"
        )
    return _own(name, what, kind)


def _own(name: str, what: str, kind: type) -> Any:
    """An instance of a user's class."""
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise ValueError(f"{what} {name!r}: {error}; is the module's folder on PYTHONPATH?") from error
    except (AttributeError, ValueError, TypeError) as error:
        raise ValueError(f"{what} {name!r}: {error}; write module:Class") from error
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise ValueError(f"{what} {name!r} is no subclass of snntorch_brp.{kind.__name__}")
    try:
        return found()
    except TypeError as error:
        raise ValueError(f"{what} {name!r} must be made without arguments: {error}") from error
