"""What a leaky neuron does in a step, as plain numbers: read off RefractoryLeaky or snn.Leaky."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import snntorch as snn
import torch
from torch import Tensor, nn

from snntorch_brp.neurons import RefractoryLeaky
from snntorch_brp.surrogate import Boxcar


@dataclass(frozen=True)
class Dynamics:
    """The constants of one layer of leaky neurons (eq. 2).

    Attributes:
        beta: Decay g, a scalar or one value a neuron.
        threshold: Threshold θ, likewise.
        spike_grad: Spike function with the surrogate gradient.
        reset: What a spike does: "forget" drops the past while the refractory flag is up, "subtract" takes θ off,
            "none" does nothing.
        tau_ref: Refractory period τ_ref in steps.
        v_rest: Resting potential, where the membrane starts.
        v_reset: Potential it restarts from while the flag is up.
        detach_reset: The gradient does not go through the flag.
    """

    beta: Tensor
    threshold: Tensor
    spike_grad: Callable[[Tensor], Tensor]
    reset: Literal["forget", "subtract", "none"] = "forget"
    tau_ref: int = 1
    v_rest: float = 0.0
    v_reset: float = 0.0
    detach_reset: bool = False

    def left(self, v: Tensor) -> Tensor:
        """What is left of a membrane after a step without reset, V_rest + g (v - V_rest)."""
        return self.beta * v if self.v_rest == 0 else self.v_rest + self.beta * (v - self.v_rest)

    def psi(self, v: Tensor) -> Tensor:
        """Pseudo-gradient ψ of the spikes with respect to the membrane (eq. 10 for the boxcar), the shape of ``v``."""
        u = v - self.threshold
        if isinstance(self.spike_grad, Boxcar):
            return (u.abs() < self.spike_grad.half_width).to(v.dtype)
        with torch.enable_grad():
            u.requires_grad_()
            spikes = self.spike_grad(u)
            return torch.autograd.grad(spikes, u, torch.ones_like(spikes))[0].to(v.dtype)


def why_not(neuron: nn.Module) -> str | None:
    """Why this neuron cannot be run by the scan, or None where it can."""
    if type(neuron) not in (snn.Leaky, RefractoryLeaky):
        return f"is a {type(neuron).__name__}, not a RefractoryLeaky or snn.Leaky"
    if not neuron.init_hidden:
        return "does not keep its own state: make it with init_hidden=True"
    refusals = {
        "learns its beta": isinstance(neuron.beta, nn.Parameter),
        "learns its threshold": isinstance(neuron.threshold, nn.Parameter),
        "has graded spikes": isinstance(neuron.graded_spikes_factor, nn.Parameter) or neuron.graded_spikes_factor != 1,
        "has lateral inhibition": bool(neuron.inhibition),
        "has a quantised state": bool(neuron.state_quant),
        "has its surrogate gradient disabled": bool(neuron.surrogate_disable),
        "resets without delay": not neuron.reset_delay,
    }
    return next((reason for reason, holds in refusals.items() if holds), None)


def dynamics_of(neuron: nn.Module, like: Tensor) -> Dynamics:
    """The constants of a neuron for which :func:`why_not` has nothing to say, in the dtype of ``like``."""
    beta = neuron.beta.detach().clamp(0, 1).to(like)  # type: ignore[operator]
    threshold = neuron.threshold.detach().to(like)  # type: ignore[operator]
    if isinstance(neuron, RefractoryLeaky):
        return Dynamics(
            beta,
            threshold,
            neuron.spike_grad,
            tau_ref=neuron.tau_ref,
            v_rest=neuron.v_rest,
            v_reset=neuron.v_reset,
            detach_reset=neuron.detach_reset,
        )
    reset = {"subtract": "subtract", "zero": "forget", "none": "none"}[neuron.reset_mechanism]  # type: ignore[index]
    return Dynamics(beta, threshold, neuron.spike_grad, reset=reset, detach_reset=True)  # type: ignore[arg-type]
