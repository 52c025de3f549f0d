"""What one layer did over a sequence: all that a local rule may see."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor


class Window:
    """What one layer did over T steps, without its graph; each value is computed when first asked for.

    Args:
        spikes: Spikes s_t, a tensor ``[T, B, *]`` or T tensors ``[B, *]``.
        membrane: Membrane potentials v_t, likewise, where they were kept.
        current: Input currents I_t, likewise, where they were kept.
        rate: Mean spike rate ``[B, *]``, where it is known already.

    Attributes:
        steps: Number of time steps T.
    """

    def __init__(
        self,
        spikes: Sequence[Tensor] | Tensor,
        *,
        membrane: Sequence[Tensor] | Tensor | None = None,
        current: Sequence[Tensor] | Tensor | None = None,
        rate: Tensor | None = None,
    ) -> None:
        self.steps = len(spikes)
        self._spikes, self._membrane, self._current, self._rate = spikes, membrane, current, rate

    @cached_property
    def rate(self) -> Tensor:
        """Mean spike rate over the window, ``[B, *]``."""
        if self._rate is not None:
            return self._rate
        if isinstance(self._spikes, Tensor):
            return self._spikes.detach().mean(0)
        total = self._spikes[0].detach().clone()
        for spikes in self._spikes[1:]:
            total += spikes.detach()
        return total / self.steps

    @cached_property
    def spikes(self) -> Tensor:
        """Spikes s_t, ``[T, B, *]``."""
        return _stacked(self._spikes, "spikes")

    @cached_property
    def membrane(self) -> Tensor:
        """Membrane potentials v_t, ``[T, B, *]``."""
        return _stacked(self._membrane, "membrane")

    @cached_property
    def current(self) -> Tensor:
        """Input currents I_t, ``[T, B, *]``."""
        return _stacked(self._current, "current")


def _stacked(steps: Sequence[Tensor] | Tensor | None, name: str) -> Tensor:
    if steps is None:
        raise AttributeError(f"this window kept no {name}: add it to the rule, `keeps = frozenset({{'{name}'}})`")
    return steps.detach() if isinstance(steps, Tensor) else torch.stack([step.detach() for step in steps])
