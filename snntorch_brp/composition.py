"""Consolidations made of others: weighted sums, and one for each layer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from torch import Tensor

from snntorch_brp.activity import Activity
from snntorch_brp.consolidation import Consolidation, Gradients
from snntorch_brp.named import of_layer


class _Composed(Consolidation):
    """Asks for what its parts ask for. It learns at the end of a sequence, whatever they could do online."""

    @property
    @abstractmethod
    def _parts(self) -> Sequence[Consolidation]:
        """The parts."""

    @property
    def keeps(self) -> frozenset[str]:
        """All that the parts look at."""
        return frozenset().union(*(part.keeps for part in self._parts))

    @property
    def compares_samples(self) -> bool:  # type: ignore[override]
        """Where a part does."""
        return any(part.compares_samples for part in self._parts)

    @property
    def without_recurrence(self) -> bool:  # type: ignore[override]
        """Where a part is."""
        return any(part.without_recurrence for part in self._parts)

    @property
    def fusible(self) -> bool:  # type: ignore[override]
        """Where all parts are."""
        return all(part.fusible for part in self._parts)


@dataclass(frozen=True)
class Sum(_Composed):
    """A weighted sum of consolidations, all given the same δ_l: ``Σ_i w_i ∇_i``.

    Nøkland and Eidnes ("Training Neural Networks with Local Error Signals", ICML 2019) sum a similarity matching loss
    and a local prediction loss, and find it better than either.

    Args:
        parts: Pairs of a weight and a consolidation.

    Raises:
        ValueError: If there are none.

    Example:
        >>> both = Sum([(0.9, SimilarityMatching()), (0.1, PseudoGradient())])
        >>> both.compares_samples, sorted(both.keeps)
        (True, [])
    """

    parts: Sequence[tuple[float, Consolidation]]

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("a sum of nothing teaches nothing: give Sum([(weight, consolidation), ...])")

    @property
    def _parts(self) -> Sequence[Consolidation]:
        return [part for _, part in self.parts]

    def gradients(self, delta: Tensor, window: Activity) -> Gradients:
        """``Σ_i w_i ∇_i`` on spikes, membranes, currents and weights; traces are folded into currents."""
        given = [(weight, part, part.gradients(delta, window)) for weight, part in self.parts]
        folded = [(weight, g.folded(part, window)) for weight, part, g in given]
        spikes, membrane, current = (
            _sum([(w, getattr(g, name)) for w, g in folded]) for name in ("spikes", "membrane", "current")
        )
        weights = zip_longest(*([(w, own) for own in g.weights] for w, _, g in given))
        return Gradients(spikes, membrane, current, None, [_sum(filter(None, terms)) for terms in weights])


def _sum(terms: Iterable[tuple[float, Tensor | None]]) -> Tensor | None:
    """``Σ_i w_i x_i`` over what there is; the same at every step (length 1) adds to any number of steps."""
    total: Tensor | None = None
    for weight, term in terms:
        if term is not None:
            total = weight * term if total is None else total + weight * term
    return total


@dataclass(frozen=True)
class PerLayer(_Composed):
    """A consolidation of its own for each hidden layer.

    Args:
        layers: Consolidations by a layer's name, or by pattern with ``*`` and ``?``; the first that matches counts.

    Raises:
        ValueError: If there are none, or, in training, if a layer has none.

    Example:
        >>> PerLayer({"conv1*": SimilarityMatching(places=4), "*": PseudoGradient()}).compares_samples
        True
    """

    layers: Mapping[str, Consolidation]

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("there is no consolidation: give PerLayer({'conv1*': ..., '*': ...})")

    @property
    def _parts(self) -> Sequence[Consolidation]:
        return list(self.layers.values())

    def gradients(self, delta: Tensor, window: Activity) -> Gradients:
        """Those of the layer's own."""
        own = of_layer(self.layers, window.layer.name)
        return own.gradients(delta, window).folded(own, window)
