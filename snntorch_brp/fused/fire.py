"""A layer's neurons over all steps, forward and back, by the best means there is.

On the CPU that is the C++ kernel, on CUDA the Triton kernel for float32 and what torch.compile makes of the definition
for the rest, and plain torch where there is neither a compiler nor Triton.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from snntorch_brp.fused import triton_neuron
from snntorch_brp.fused.dynamics import Dynamics
from snntorch_brp.fused.kernels import adjoint_, can_run, scan_
from snntorch_brp.fused.scan import adjoint, scan


def fire(current: Tensor, neuron: Dynamics, spikes: Tensor, pool: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Run a layer's neurons; the currents may be overwritten.

    Args:
        current: Input currents, ``[T, B, *]``.
        neuron: The layer's constants.
        spikes: Filled with the spikes, ``[T, B, *]``, averaged over windows of ``pool``.
        pool: Height and width of the windows, (1, 1) for none.

    Returns:
        Membrane potentials ``[T, B, *]`` and mean spike rate ``[B, *]``, both before pooling.
    """
    if can_run(current, neuron):
        return current, scan_(current, neuron, spikes, pool)
    if current.dtype is torch.float32 and triton_neuron.can_run(current, neuron):
        return triton_neuron.scan_(current, neuron, spikes, pool)
    membrane = _best(scan, current)(current, neuron)
    fired = (membrane > neuron.threshold).to(membrane.dtype)
    pooled = fired if max(pool) == 1 else F.avg_pool2d(fired.flatten(0, 1), tuple(pool)).unflatten(0, fired.shape[:2])
    spikes.copy_(pooled)
    return membrane, fired.mean(0)


def fire_back(
    membrane: Tensor, neuron: Dynamics, *, grad_spikes: Tensor | None = None, grad_membrane: Tensor | None = None
) -> Tensor:
    """Gradient of the currents, ``[T, B, *]``, as in :func:`adjoint`; the membranes may be overwritten."""
    if can_run(membrane, neuron):
        way: Callable[..., Tensor] = adjoint_
    elif membrane.dtype is torch.float32 and triton_neuron.can_run(membrane, neuron):
        way = triton_neuron.adjoint_
    else:
        way = _best(adjoint, membrane)
    return way(membrane, neuron, grad_spikes=grad_spikes, grad_membrane=grad_membrane)


def _best(function: Callable[..., Tensor], x: Tensor) -> Callable[..., Tensor]:
    on_triton = x.device.type == "cuda" and importlib.util.find_spec("triton") is not None
    return compiled(function) if on_triton else function


@functools.cache
def compiled(function: Callable[..., Tensor], **options: Any) -> Callable[..., Tensor]:
    """:func:`scan` or :func:`adjoint` through torch.compile: the loop over T becomes one kernel."""
    return torch.compile(function, **options)
