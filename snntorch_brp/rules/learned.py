"""Values that a rule itself learns for each layer, such as the weights of a local classifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from snntorch_brp.activity import Activity

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8  # Adam's usual ones


@dataclass(frozen=True, kw_only=True)
class LearnedValue:
    """One value a layer, learned by Adam (Kingma, Ba, ICLR 2015), once for every sequence::

        m ← β₁ m + (1 - β₁) g,  r ← β₂ r + (1 - β₂) g²
        value ← value - η m / (1 - β₁ⁿ) / (√(r / (1 - β₂ⁿ)) + ε)

    with g what :meth:`teach` was given over the sequence before. So it stands still while a sequence runs, and a rule
    gives the same gradients whether it learns at every step or when the sequence is over. The value, its moments and
    the gradient that waits are saved with the feedback matrices, and come back with them.

    Args:
        key: What to call it.
        learning_rate: η; 0 leaves the value as it is.
    """

    key: str
    learning_rate: float

    def __post_init__(self) -> None:
        if self.learning_rate < 0:
            raise ValueError(f"learning_rate must not be negative, got {self.learning_rate}")

    def now(self, window: Activity, make: Callable[[], Tensor]) -> Tensor:
        """The value of the window's layer as it is; arguments as in :meth:`moved`."""
        return window.layer.learned(self.key, make)

    def moved(self, window: Activity, make: Callable[[], Tensor]) -> Tensor:
        """The value of the window's layer; the first window of a sequence moves it, so call it once a window.

        Args:
            window: What the layer did.
            make: Makes the first value.
        """
        layer = window.layer
        value = layer.learned(self.key, make)
        waiting = layer.learned(f"{self.key}: gradient", lambda: value.new_zeros(value.shape))
        if window.first == 0:
            steps = layer.learned(f"{self.key}: steps", lambda: value.new_zeros(()))
            if steps > 0:
                m = layer.learned(f"{self.key}: mean", lambda: value.new_zeros(value.shape))
                r = layer.learned(f"{self.key}: square", lambda: value.new_zeros(value.shape))
                m.lerp_(waiting, 1 - _BETA_1)
                r.lerp_(waiting.square(), 1 - _BETA_2)
                size = (r / (1 - _BETA_2**steps)).sqrt().add_(_EPSILON)
                value.sub_(self.learning_rate * (m / (1 - _BETA_1**steps)) / size)
            waiting.zero_()
            steps.add_(1)
        return value

    def teach(self, window: Activity, gradient: Tensor) -> None:
        """Add to the gradient that moves the value before the next sequence.

        Args:
            window: What the layer did.
            gradient: Of the shape of the value, a mean over the batch.
        """
        waiting = window.layer.learned(f"{self.key}: gradient", lambda: gradient.new_zeros(gradient.shape))
        waiting.add_(gradient)
