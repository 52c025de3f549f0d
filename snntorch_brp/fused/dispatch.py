"""A layer's neurons over all steps, forward and back, by the best means there is.

On the CPU that is the C++ kernel, on CUDA the Triton kernel for float32 and what torch.compile makes of the definition
for the rest, and plain torch where there is neither a compiler nor Triton.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from snntorch_brp.fused import learned_constants, scan, triton_neuron
from snntorch_brp.fused.dynamics import Dynamics
from snntorch_brp.fused.module_neuron import ModuleNeuron
from snntorch_brp.fused.neuron_kernels import adjoint_, can_run, scan_
from snntorch_brp.fused.scan import Leaky


def fire(
    current: Tensor, neuron: Dynamics, spikes: Tensor, pool: Sequence[int], *, learns: bool = True
) -> tuple[Tensor, Tensor]:
    """Run a layer's neurons; the currents may be overwritten.

    Args:
        current: Input currents, ``[T, B, *]``.
        neuron: The layer's constants.
        spikes: Filled with the spikes, ``[T, B, *]``, averaged over windows of ``pool``.
        pool: Height and width of the windows, (1, 1) for none.
        learns: :func:`fire_back` will be called.

    Returns:
        Membrane potentials ``[T, B, *]`` and mean spike rate ``[B, *]``, both before pooling.
    """
    if isinstance(neuron, Leaky) and can_run(current, neuron):
        return current, scan_(current, neuron, spikes, pool)
    if isinstance(neuron, Leaky) and _fits_triton(current, neuron):
        return triton_neuron.scan_(current, neuron, spikes, pool)
    if isinstance(neuron, Leaky) and _has_triton(current):
        membrane = compiled(scan.scan)(current, replace(neuron, learned=None))
    elif isinstance(neuron, ModuleNeuron):
        membrane = neuron.scan(current, learns=learns)
    else:
        membrane = neuron.scan(current)
    fired = neuron.spikes(membrane)
    pooled = fired if max(pool) == 1 else F.avg_pool2d(fired.flatten(0, 1), tuple(pool)).unflatten(0, fired.shape[:2])
    spikes.copy_(pooled)
    return membrane, fired.mean(0)


def fire_back(
    membrane: Tensor, neuron: Dynamics, *, grad_spikes: Tensor | None = None, grad_membrane: Tensor | None = None
) -> Tensor:
    """Gradient of the currents, ``[T, B, *]``, as in :func:`adjoint`; the membranes may be overwritten.

    Gradients of constants that are learned are added to ``.grad``.
    """
    gradients = {"grad_spikes": grad_spikes, "grad_membrane": grad_membrane}
    if grad_spikes is None and grad_membrane is None:
        return torch.zeros_like(membrane)
    if isinstance(neuron, Leaky) and can_run(membrane, neuron):
        return adjoint_(membrane, neuron, **gradients)
    if isinstance(neuron, Leaky) and neuron.learned is not None:
        a = fire_back(membrane.clone(), replace(neuron, learned=None), **gradients)
        neuron.learned.accumulate(*learned_constants.gradients(membrane, a, neuron, grad_membrane=grad_membrane))
        return a
    if isinstance(neuron, Leaky) and _fits_triton(membrane, neuron):
        return triton_neuron.adjoint_(membrane, neuron, grad_spikes=grad_spikes, grad_membrane=grad_membrane)
    if isinstance(neuron, Leaky) and _has_triton(membrane):
        return compiled(scan.adjoint)(membrane, neuron, **gradients)
    return neuron.adjoint(membrane, **gradients)


def _fits_triton(current: Tensor, neuron: Leaky) -> bool:
    """In single precision: the engine's gradients are of the dtype of its currents, the kernels' state in float32."""
    return current.dtype is torch.float32 and triton_neuron.can_run(current, neuron)


def _has_triton(x: Tensor) -> bool:
    return x.device.type == "cuda" and importlib.util.find_spec("triton") is not None


@functools.cache
def compiled(function: Callable[..., Tensor], **options: Any) -> Callable[..., Tensor]:
    """The scan of leaky neurons or its adjoint through torch.compile: the loop over T becomes one kernel."""
    return torch.compile(function, **options)
