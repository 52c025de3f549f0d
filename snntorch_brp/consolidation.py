"""How a layer learns from what was sent to it: local consolidation (eqs. 8-10).

A consolidation looks at δ_l = TP·B_l and at the layer's own window, and says where on the layer's outputs a
gradient is put. The layer's own dynamics and synapse turn that into a weight change; nothing else is involved.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor


class Window:
    """What one layer did over T steps; each property is ``[T, B, *]`` and made when first asked for.

    Args:
        spikes: Spikes s_t, a tensor ``[T, B, *]`` or T tensors ``[B, *]``.
        membranes: Membrane potentials v_t, likewise.
        currents: Input currents I_t, likewise.
    """

    def __init__(
        self,
        spikes: Sequence[Tensor] | Tensor,
        membranes: Sequence[Tensor] | Tensor,
        currents: Sequence[Tensor] | Tensor,
    ) -> None:
        self._spikes, self._membranes, self._currents = spikes, membranes, currents

    @cached_property
    def spikes(self) -> Tensor:
        """Spikes s_t."""
        return _stacked(self._spikes)

    @cached_property
    def membrane(self) -> Tensor:
        """Membrane potentials v_t."""
        return _stacked(self._membranes)

    @cached_property
    def current(self) -> Tensor:
        """Input currents I_t."""
        return _stacked(self._currents)


def _stacked(steps: Sequence[Tensor] | Tensor) -> Tensor:
    return steps.detach() if isinstance(steps, Tensor) else torch.stack([step.detach() for step in steps])


class Gradients(NamedTuple):
    """Where a consolidation puts its gradients, each ``[T or 1, B, *]`` or None for nothing.

    A leading axis of length 1 means the same at every step. Values are for one sample; the executor takes the
    mean over the batch.
    """

    spikes: Tensor | None = None  # in the place of ∂L/∂s_t
    membrane: Tensor | None = None  # in the place of ∂L/∂v_t
    current: Tensor | None = None  # in the place of ∂L/∂I_t: past the neuron, straight to the synapse


class Consolidation(ABC):
    """A rule for how a layer learns. Write your own by subclassing it."""

    @abstractmethod
    def gradients(self, delta: Tensor, window: Window) -> Gradients:
        """Gradients on a layer's outputs.

        Args:
            delta: δ_l = TP·B_l, ``[T or 1, B, *]``.
            window: What the layer did.
        """


@dataclass(frozen=True)
class PseudoGradient(Consolidation):
    """δ_l in the place of ∂L/∂s_t at every step (eq. 10 and the authors' code).

    The gradient runs back through this layer's own time only; for τ_ref = 1 and zero potentials::

        a_t = ψ_t (δ_t - g a_{t+1} v_t) + g (1 - s_t) a_{t+1}
        ∇W = Σ_t a_t x_tᵀ,  ∇b = Σ_t a_t

    (without the middle term when the reset is detached).
    """

    def gradients(self, delta: Tensor, window: Window) -> Gradients:
        """``∂L/∂s_t := δ_t``."""
        return Gradients(spikes=delta)


@dataclass(frozen=True)
class StateDifference(Consolidation):
    """The local objective ½‖h_l - TP·B_l‖² (eqs. 8-9 as printed), with h_l the membrane or the rate.

    Args:
        state: "membrane" asks every v_t to approach δ_l; "rate" asks the mean spike rate to.

    Raises:
        ValueError: If ``state`` is neither.
    """

    state: Literal["membrane", "rate"] = "membrane"

    def __post_init__(self) -> None:
        if self.state not in ("membrane", "rate"):
            raise ValueError(f"state must be 'membrane' or 'rate', got {self.state!r}")

    def gradients(self, delta: Tensor, window: Window) -> Gradients:
        """``∂L/∂v_t = v_t - δ``, or ``∂L/∂s_t = (rate - δ) / T``."""
        if self.state == "membrane":
            return Gradients(membrane=window.membrane - delta)
        rate = window.spikes.mean(0, keepdim=True)
        return Gradients(spikes=(rate - delta) / len(window.spikes))
