"""A readout that does not spike, in the place of the last layer's neurons: it gives its currents as they are."""

from __future__ import annotations

import torch
from torch import Tensor


class Readout:
    """No neurons: what is called spikes and membranes is the currents themselves."""

    def scan(self, current: Tensor) -> Tensor:
        """The currents, ``[T, B, *]``."""
        return current

    def spikes(self, membrane: Tensor) -> Tensor:
        """What the readout gives, ``[T, B, *]``."""
        return membrane

    def adjoint(
        self, membrane: Tensor, *, grad_spikes: Tensor | None = None, grad_membrane: Tensor | None = None
    ) -> Tensor:
        """The gradient as it comes, ``[T, B, *]``."""
        total = torch.zeros_like(membrane)
        for gradient in (grad_spikes, grad_membrane):
            if gradient is not None:
                total += gradient
        return total
