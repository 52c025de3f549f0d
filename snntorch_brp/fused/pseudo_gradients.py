"""ψ, the pseudo-gradient of a spike function: in closed form where it is known, else as autograd gives it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from snntorch_brp.surrogate import Boxcar

SpikeGrad = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ClosedForm:
    """ψ(u) as a formula of the membrane above threshold, u = v - θ.

    Attributes:
        name: The function's name in :mod:`snntorch.surrogate`, or "boxcar".
        slope: Its slope, half-width, α or height.
        other: Its second constant, where it has one.
    """

    name: str
    slope: float = 1.0
    other: float = 0.0

    def psi(self, u: Tensor) -> Tensor:
        """ψ, the shape and dtype of ``u``; unlike the exponentials of autograd it never overflows."""
        return _FORMULAS[self.name](u, self.slope, self.other).to(u.dtype)


_FORMULAS: dict[str, Callable[[Tensor, float, float], Tensor]] = {
    "boxcar": lambda u, k, _: u.abs() < k,
    "fast_sigmoid": lambda u, k, _: (k * u.abs() + 1) ** -2,
    "atan": lambda u, k, _: k / 2 / (1 + (math.pi / 2 * k * u) ** 2),
    "straight_through_estimator": lambda u, k, _: torch.ones_like(u),
    "triangular": lambda u, k, _: torch.where(u >= 0, -k, k),
    "heaviside": lambda u, k, _: u > 0,
    "sigmoid": lambda u, k, _: k * torch.sigmoid(k * u) * torch.sigmoid(-k * u),
    "spike_rate_escape": lambda u, k, beta: k * torch.exp(-beta * (u - 1).abs()),
    "SFS": lambda u, k, B: (k * u.abs() + 1) ** -2 * (u > B),
}
# What snnTorch's functions call their constants, in the order of ClosedForm.
_CONSTANTS: dict[str, tuple[str, ...]] = {
    "fast_sigmoid": ("slope",),
    "atan": ("alpha",),
    "straight_through_estimator": (),
    "triangular": ("threshold",),
    "heaviside": (),
    "sigmoid": ("slope",),
    "spike_rate_escape": ("slope", "beta"),
    "SFS": ("slope", "B"),
}


def closed_form(spike_grad: SpikeGrad) -> ClosedForm | None:
    """The formula of a spike function, or None where it has none that is known here."""
    if type(spike_grad) is Boxcar:
        return ClosedForm("boxcar", spike_grad.half_width)
    name = getattr(spike_grad, "__qualname__", "").partition(".")[0]
    if getattr(spike_grad, "__module__", None) != "snntorch.surrogate" or name not in _CONSTANTS:
        return None
    held = dict(zip(spike_grad.__code__.co_freevars, spike_grad.__closure__ or (), strict=True))
    values = [held[constant].cell_contents if constant in held else None for constant in _CONSTANTS[name]]
    if not all(isinstance(value, int | float) for value in values):
        return None
    return ClosedForm(name, *map(float, values))  # type: ignore[arg-type]


def psi(spike_grad: SpikeGrad, u: Tensor) -> Tensor:
    """Pseudo-gradient at ``u = v - θ``, its shape and dtype."""
    form = closed_form(spike_grad)
    if form is not None:
        return form.psi(u)
    with torch.enable_grad():
        u = u.detach().requires_grad_()
        spikes = spike_grad(u)
        return torch.autograd.grad(spikes, u, torch.ones_like(spikes))[0].to(u.dtype)


def unsupported_reason(spike_grad: SpikeGrad, dtype: torch.dtype, device: torch.device) -> str | None:
    """Why the spikes and gradients of a spike function cannot be had from ``u > 0`` and one ψ(u), or None.

    It is tried on some values: forward it must be the Heaviside step in the dtype of its input, backward each
    gradient times a number that its own input alone decides.
    """
    near = torch.tensor([1e-30, -1e-30, 1e-3, -1e-3, 0.4, -0.4], dtype=torch.float64)
    u = torch.cat([torch.linspace(-6, 6, 49, dtype=torch.float64), near])
    g = torch.linspace(-1, 2, len(u), dtype=torch.float64).sin()
    u, g = u.to(device, dtype), g.to(device, dtype)
    try:
        with torch.random.fork_rng(devices=[]):  # one that draws numbers shall not move the user's generator
            spikes, gradient = _tried(spike_grad, u, g)
            factors = _tried(spike_grad, u, torch.ones_like(g))[1]
            turned = _tried(spike_grad, u.flip(0), g.flip(0))[1].flip(0)
    except Exception as error:  # whatever somebody's own function may throw: attach will meet it too
        return f"has a spike_grad that fails on {dtype}: {error}"
    if spikes.dtype is not dtype:
        return f"has a spike_grad that makes {spikes.dtype} of {dtype}"
    if spikes.shape != u.shape or not torch.equal(spikes.detach(), (u > 0).to(dtype)):
        return "has a spike_grad whose spikes are not 1 above the threshold and 0 elsewhere"
    rtol = 30 * torch.finfo(dtype).eps
    if any(not torch.allclose(gradient, x, rtol=rtol, atol=1e-30, equal_nan=True) for x in (factors * g, turned)):
        return "has a spike_grad whose gradient is more than a factor for each neuron"
    return None


def _tried(spike_grad: SpikeGrad, u: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        u = u.clone().requires_grad_()
        spikes = spike_grad(u)
        return spikes, torch.autograd.grad(spikes, u, g.to(spikes.dtype))[0]
