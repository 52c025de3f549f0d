"""The boxcar spike gradient (eq. 10 of the paper)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


class _BoxcarSpike(torch.autograd.Function):
    """Heaviside step forward, boxcar backward, in the dtype of the input."""

    @staticmethod
    def forward(u: Tensor, half_width: float) -> Tensor:
        return (u > 0).to(u.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        u, half_width = inputs
        # The gradient needs one bit a neuron, so one byte is kept instead of the membrane.
        ctx.save_for_backward(u.abs() < half_width)

    @staticmethod
    def backward(ctx: Any, grad_spikes: Tensor) -> tuple[Tensor, None]:
        (psi,) = ctx.saved_tensors
        return grad_spikes * psi, None


@dataclass(frozen=True)
class Boxcar:
    """Spike function with a boxcar pseudo-gradient; made by :func:`boxcar`."""

    half_width: float = 0.5

    def __post_init__(self) -> None:
        if not self.half_width > 0:
            raise ValueError(f"half_width must be positive, got {self.half_width}")

    def __call__(self, u: Tensor) -> Tensor:
        """Spikes of the membrane above threshold ``u = v - θ``: 1 where ``u > 0``, else 0 (any shape)."""
        return _BoxcarSpike.apply(u, self.half_width)


def boxcar(half_width: float = 0.5) -> Boxcar:
    """The paper's spike function, for ``spike_grad`` of any snnTorch neuron.

    Forward, ``s = 1 if u > 0 else 0`` with ``u = v - θ``. Backward, the pseudo-gradient of eq. 10::

        ψ = 1 if |u| < half_width else 0

    Unlike snnTorch's own surrogates it keeps the dtype of its input (float64 and half precision work), and it
    can be pickled and compared.

    Args:
        half_width: Half-width of the box, in units of the membrane potential.

    Raises:
        ValueError: If ``half_width`` is not positive.

    Example:
        >>> v = torch.tensor([0.2, 0.6, 1.4], requires_grad=True)
        >>> spikes = boxcar()(v - 0.5)
        >>> spikes.sum().backward()
        >>> spikes.tolist(), v.grad.tolist()
        ([0.0, 1.0, 1.0], [1.0, 1.0, 0.0])
    """
    return Boxcar(half_width)
