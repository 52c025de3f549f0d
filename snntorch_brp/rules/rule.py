"""What a learning rule with a name is: what is sent, how a layer learns from it, and what both ask of a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

from snntorch_brp.consolidation import Consolidation
from snntorch_brp.propagation import Propagation

Part = TypeVar("Part", bound=Propagation | Consolidation)


@dataclass(frozen=True)
class Facts:
    """What a rule asks of a network, in words; one row of the table of rules.

    Attributes:
        name: The name that :func:`~snntorch_brp.rules.rule_named` and the command line know it by.
        paper: Authors, title, venue and year.
        sees: What a hidden layer must see, beside its own input, membrane and spikes.
        learns: When it may learn.
        remembers: What it must remember for that, where N is its neurons and M its inputs.
        transports: Whether weights, or errors through weights, travel between layers.
    """

    name: str
    paper: str
    sees: str
    learns: str
    remembers: str
    transports: str


class LocalRule(ABC):
    """A published rule, made of a propagation and a consolidation; ``attach`` takes it in the place of both.

    Subclasses are frozen dataclasses whose fields are the rule's settings. Where a part of the rule depends on no
    setting it is a plain attribute, ``propagation = BRP()``; where its settings have the rule's names, ``self.part``
    makes it.
    """

    facts: ClassVar[Facts]

    @property
    @abstractmethod
    def propagation(self) -> Propagation:
        """What is sent to the hidden layers."""

    @property
    @abstractmethod
    def consolidation(self) -> Consolidation:
        """How a layer learns from it."""

    def part(self, kind: type[Part], **others: Any) -> Part:
        """A part of the rule with the rule's settings.

        Args:
            kind: A dataclass, which takes of each setting that it shares a name with the rule's value.
            others: Settings that have another name in the rule.
        """
        own = {field.name for field in fields(self)} - others.keys()  # type: ignore[arg-type]
        shared = {f.name: getattr(self, f.name) for f in fields(kind) if f.name in own}  # type: ignore[arg-type]
        return kind(**shared, **others)
