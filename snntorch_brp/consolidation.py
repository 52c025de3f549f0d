"""How a layer learns from what was sent to it: local consolidation (eqs. 8-10).

A consolidation looks at δ_l = TP·B_l and at the layer's own window, and says where on the layer's outputs a
gradient is put. The layer's own dynamics and synapse turn that into a weight change; nothing else is involved.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from torch import Tensor

from snntorch_brp.window import Window


class Gradients(NamedTuple):
    """Where a consolidation puts its gradients, each ``[T or 1, B, *]`` or None for nothing.

    A leading axis of length 1 means the same at every step. Values are for one sample; the executor takes the
    mean over the batch.
    """

    spikes: Tensor | None = None  # in the place of ∂L/∂s_t
    membrane: Tensor | None = None  # in the place of ∂L/∂v_t
    current: Tensor | None = None  # in the place of ∂L/∂I_t: past the neuron, straight to the synapse


class Consolidation(ABC):
    """A rule for how a layer learns. Write your own by subclassing it.

    Attributes:
        keeps: What of the window it looks at or puts a gradient on, beside the spikes: "membrane", "current".
            Nothing else is kept, to save memory.
    """

    keeps: ClassVar[frozenset[str]] = frozenset()

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

    Example:
        >>> delta = torch.tensor([[[0.5, -0.5]]])
        >>> PseudoGradient().gradients(delta, Window(torch.zeros(20, 1, 2))).spikes.tolist()
        [[[0.5, -0.5]]]
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

    Example:
        >>> delta, window = torch.tensor([[[0.5, -0.5]]]), Window(torch.ones(20, 1, 2))
        >>> (window.steps * StateDifference("rate").gradients(delta, window).spikes).tolist()
        [[[0.5, 1.5]]]
    """

    keeps: ClassVar[frozenset[str]] = frozenset({"membrane"})

    state: Literal["membrane", "rate"] = "membrane"

    def __post_init__(self) -> None:
        if self.state not in ("membrane", "rate"):
            raise ValueError(f"state must be 'membrane' or 'rate', got {self.state!r}")

    def gradients(self, delta: Tensor, window: Window) -> Gradients:
        """``∂L/∂v_t = v_t - δ``, or ``∂L/∂s_t = (rate - δ) / T``."""
        if self.state == "membrane":
            return Gradients(membrane=window.membrane - delta)
        return Gradients(spikes=(window.rate - delta) / window.steps)
