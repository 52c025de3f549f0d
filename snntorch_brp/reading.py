"""A layer's own reading of the label, with a temperature that means the same in every layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from snntorch_brp.activity import Activity
from snntorch_brp.places import check_places, over_places, with_adjoint
from snntorch_brp.propagation import Propagation


@dataclass(frozen=True, kw_only=True)
class PooledReading(Propagation):
    """The gradient of a layer's own cross-entropy, read by the cosine of pooled rates and the rows of B_l::

        p = softmax(κ cos(B_l, r)),  δ = ∂(-log p_y)/∂rate,  r = pool(rate) - its mean

    Pooling tells a convolution what its channels say in each of a few regions, which is what a class is known by, and
    not pixel by pixel. The cosine lies in [-1, 1] whatever the size of a layer and its rates, so that one κ means the
    same in the first convolution and in the last: the product of rates and B_l, as in
    :class:`~snntorch_brp.propagation.RewardPrediction`, grows with the number of neurons. Label only: B_l is fixed.

    Fixed random readers are Mostafa, Ramesh, Cauwenberghs ("Deep Supervised Learning Using Local Errors", Frontiers in
    Neuroscience 2018); pooled ones with unit-length readings Apolinario, Roy, Frenkel ("LLS: Local Learning Rule for
    Deep Neural Networks Inspired by Neural Activity Synchronization", WACV 2025).

    Args:
        kappa: Inverse temperature κ.
        places: Regions along each axis that rates and B_l are pooled to; give ``Feedback(regions=...)`` the same, lest
            pooling leave little of B_l. None reads every neuron.
        center: What is subtracted from the pooled rates: "sample", each sample's mean over its neurons; "batch", each
            neuron's mean over the batch, held fixed in the gradient.

    Raises:
        ValueError: If an option cannot be.

    Example:
        >>> rule, label = PooledReading(kappa=1.0), torch.tensor([[[0.0, 1.0]]])
        >>> window = Activity(torch.tensor([[[1.0, 0.0]]]))
        >>> rule.delta(label, window=window, feedback=torch.eye(2), output=None).abs().max() < 1e-6
        tensor(True)
    """

    reads_classes: ClassVar[bool] = True

    kappa: float = 10.0
    places: int | None = None
    center: Literal["sample", "batch"] = "sample"

    def __post_init__(self) -> None:
        check_places(self.places)
        if self.center not in ("sample", "batch"):
            raise ValueError(f"center must be 'sample' or 'batch', got {self.center!r}")

    @property
    def compares_samples(self) -> bool:  # type: ignore[override]
        """With the batch's mean it does."""
        return self.center == "batch"

    def signal(self, label: Tensor, *, window: Activity, feedback: Tensor, output: Tensor | None) -> Tensor:
        """``TP = p - ȳ``, ``[1, B, K]``."""
        rows = self._rows(feedback)
        direction, _ = self._direction(over_places(window.rate, self.places))
        return torch.softmax(self.kappa * direction @ rows.T, dim=1)[None] - label.mean(0, keepdim=True)

    def delta(self, label: Tensor, *, window: Activity, feedback: Tensor, output: Tensor | None) -> Tensor:
        """``δ = κ (TP·B̂ - (TP·B̂ · r̂) r̂) / |r|``, hats of length 1, brought back from the regions to the neurons."""
        rows = self._rows(feedback)
        pooled, back = with_adjoint(window.rate, self.places)
        direction, length = self._direction(pooled)
        error = torch.softmax(self.kappa * direction @ rows.T, dim=1) - label.mean(0)
        pushed = error @ rows
        gradient = self.kappa * (pushed - (pushed * direction).sum(1, keepdim=True) * direction) / length
        if self.center == "sample":
            gradient = gradient - gradient.mean(1, keepdim=True)
        return back(gradient)[None]

    def _rows(self, feedback: Tensor) -> Tensor:
        return F.normalize(over_places(feedback, self.places), dim=1)

    def _direction(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Centered, of length 1; and the lengths."""
        centered = pooled - pooled.mean(1 if self.center == "sample" else 0, keepdim=True)
        length = centered.norm(dim=1, keepdim=True).clamp(min=_SILENT)
        return centered / length, length


_SILENT = 1e-6  # length below which a layer's activity has no direction
