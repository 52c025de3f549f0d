"""Neurons over all time steps at once: what the fused engine asks of them, and which neurons it knows.

A kind of neuron that has a forward pass and an adjoint in plain torch joins by :func:`register_neuron`, also from
outside this package; compiled kernels are an optional speed-up of those here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import snntorch as snn
import torch
from torch import Tensor, nn

from snntorch_brp.adaptive import AdaptiveLeaky
from snntorch_brp.fused import pseudo_gradients
from snntorch_brp.fused.adaptive_scan import Adaptive
from snntorch_brp.fused.module_neuron import ModuleNeuron
from snntorch_brp.fused.scan import Leaky, Learned
from snntorch_brp.neurons import RefractoryLeaky


class Dynamics(Protocol):
    """One layer of neurons, as numbers, made anew for each batch.

    It keeps no state between calls; but where a membrane does not tell whether the neuron fired, the spikes of the last
    :meth:`scan` as ``fired``, ``[T, B, *]``.
    """

    def scan(self, current: Tensor) -> Tensor:
        """Membrane potentials v_t of all steps from the currents I_t, each ``[T, B, *]``, from rest."""

    def spikes(self, membrane: Tensor) -> Tensor:
        """Spikes s_t of membrane potentials, 0 or 1, in their shape and dtype."""

    def adjoint(
        self, membrane: Tensor, *, grad_spikes: Tensor | None = None, grad_membrane: Tensor | None = None
    ) -> Tensor:
        """Gradient of the currents ``[T, B, *]`` from those of spikes and membranes, each ``[T or 1, B, *]``."""


@dataclass(frozen=True)
class Kind:
    """A kind of neuron that the engine runs.

    Attributes:
        read: The dynamics of a module, from its own numbers, in dtype and device of the currents that it is given.
        unsupported_reason: Why this module cannot be run, or None; ``(module, dtype)``.
    """

    read: Callable[[nn.Module, Tensor], Dynamics]
    unsupported_reason: Callable[[nn.Module, torch.dtype], str | None]


_KINDS: dict[type[nn.Module], Kind] = {}


def register_neuron(
    neuron: type[nn.Module],
    read: Callable[[nn.Module, Tensor], Dynamics],
    *,
    unsupported_reason: Callable[[nn.Module, torch.dtype], str | None] = lambda module, dtype: None,
) -> None:
    """Let the fused engine run a class of neurons; subclasses of it are not meant.

    Args:
        neuron: The class.
        read: Makes :class:`Dynamics` of a module and the currents that it is given, anew for each batch, so that
            numbers that have changed count.
        unsupported_reason: Why some of these modules cannot be run, or None.
    """
    _KINDS[neuron] = Kind(read, unsupported_reason)


def unsupported_reason(neuron: nn.Module, dtype: torch.dtype) -> str | None:
    """Why this neuron cannot be run, or None where it can."""
    kind = _KINDS.get(type(neuron))
    if kind is None:
        return f"is a {type(neuron).__name__}; the fused engine runs {', '.join(k.__name__ for k in _KINDS)}"
    return kind.unsupported_reason(neuron, dtype)


def dynamics_of(neuron: nn.Module, like: Tensor) -> Dynamics:
    """What a neuron for which :func:`unsupported_reason` has nothing to say does, in the dtype of ``like``."""
    return _KINDS[type(neuron)].read(neuron, like)


_STATE_FUNCTIONS = {"subtract": "_base_sub", "zero": "_base_zero", "none": "_base_int"}


def _reason(neuron: nn.Module, dtype: torch.dtype) -> str | None:
    """Why a neuron of snnTorch's own kinds cannot be run."""
    graded = getattr(neuron, "graded_spikes_factor", None)
    refusals = {
        "has graded spikes": isinstance(graded, nn.Parameter) or (graded is not None and bool((graded != 1).any())),
        "has a quantised state": bool(neuron.state_quant),
        "has its surrogate gradient disabled": bool(neuron.surrogate_disable),
        "has a state function of its own": not isinstance(neuron, RefractoryLeaky | AdaptiveLeaky)
        and neuron.state_function != getattr(neuron, _STATE_FUNCTIONS[neuron.reset_mechanism]),  # type: ignore[index]
        "learns its beta, which no step of it reads": isinstance(neuron, snn.Lapicque)
        and isinstance(neuron.beta, nn.Parameter),
    }
    reason = next((reason for reason, holds in refusals.items() if holds), None)
    device = neuron.threshold.device
    return reason or pseudo_gradients.unsupported_reason(neuron.spike_grad, dtype, device)  # type: ignore[arg-type]


def _read_leaky(neuron: nn.Module, like: Tensor) -> Leaky | ModuleNeuron:
    """Leaky neurons; those that compete, or show their membrane reset, by their module."""
    if neuron.inhibition or not neuron.reset_delay:
        return ModuleNeuron(neuron, like)
    beta, threshold = neuron.beta, neuron.threshold
    trained = [p if isinstance(p, nn.Parameter) and p.requires_grad else None for p in (beta, threshold)]
    constants = {
        "beta": beta.detach().clamp(0, 1).to(like),  # type: ignore[operator]
        "threshold": threshold.detach().to(like),  # type: ignore[operator]
        "spike_grad": neuron.spike_grad,
        "learned": Learned(*trained) if any(p is not None for p in trained) else None,
    }
    if isinstance(neuron, RefractoryLeaky):
        return Leaky(
            **constants,  # type: ignore[arg-type]
            tau_ref=neuron.tau_ref,
            v_rest=neuron.v_rest,
            v_reset=neuron.v_reset,
            detach_reset=neuron.detach_reset,
        )
    reset = {"subtract": "subtract", "zero": "forget", "none": "none"}[neuron.reset_mechanism]  # type: ignore[index]
    return Leaky(**constants, reset=reset, detach_reset=True)  # type: ignore[arg-type]


def _read_adaptive(neuron: nn.Module, like: Tensor) -> Adaptive | ModuleNeuron:
    """Adaptive thresholds; those that learn their constants by their module."""
    if any(p.requires_grad for p in neuron.parameters()):
        return ModuleNeuron(neuron, like)
    names = ("beta", "threshold", "adaptation", "rho")
    constants = {name: getattr(neuron, name).detach().to(like) for name in names}
    constants["beta"] = constants["beta"].clamp(0, 1)
    return Adaptive(**constants, spike_grad=neuron.spike_grad, reset=neuron.reset_mechanism)  # type: ignore[arg-type]


for _neuron in (snn.Leaky, RefractoryLeaky):
    register_neuron(_neuron, _read_leaky, unsupported_reason=_reason)
register_neuron(AdaptiveLeaky, _read_adaptive, unsupported_reason=_reason)
for _neuron in (snn.Synaptic, snn.Alpha, snn.Lapicque):
    register_neuron(_neuron, ModuleNeuron, unsupported_reason=_reason)
