"""A layer's neurons over all steps, forward and back, by the best means there is.

On the CPU that is the C++ kernel and on CUDA the Triton kernel; plain torch does the rest: other neurons, double
precision on CUDA, and machines with neither a compiler nor Triton. Currents of 16 bits meet a state of 32 everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from snntorch_brp.fused import learned_constants, triton_neuron
from snntorch_brp.fused.buffers import sample_major
from snntorch_brp.fused.dynamics import Dynamics
from snntorch_brp.fused.module_neuron import ModuleNeuron
from snntorch_brp.fused.neuron_kernels import adjoint_, can_run, scan_
from snntorch_brp.fused.scan import Leaky, state_dtype


def fire(
    current: Tensor,
    neuron: Dynamics,
    spikes: Tensor,
    pool: Sequence[int],
    *,
    learns: bool = True,
    membranes: bool = True,
) -> tuple[Tensor, Tensor]:
    """Run a layer's neurons; the currents may be overwritten.

    Args:
        current: Input currents, ``[T, B, *]``, or ``[1, B, *]`` where they are the same at every step.
        neuron: The layer's constants, in the dtype of the state.
        spikes: Filled with the spikes, ``[T, B, *]``, averaged over windows of ``pool``.
        pool: Height and width of the windows, (1, 1) for none.
        learns: :func:`fire_back` will be called.
        membranes: Whether the potentials are looked at; else a byte a step may stand for them where that suffices.

    Returns:
        The tape for :func:`fire_back`, membrane potentials ``[T, B, *]`` (or bytes, see :func:`spikes_on`), and mean
        spike rate ``[B, *]``, both before pooling. The rate is NaN where a membrane without potentials was not finite.
    """
    steps, same = len(spikes), current if len(current) < len(spikes) else None
    if isinstance(neuron, Leaky) and can_run(current, neuron):
        tape = current if same is None else _like_steps_of(same, steps)
        return tape, scan_(tape, neuron, spikes, pool, same=same)
    if same is not None:
        current = _like_steps_of(same, steps).copy_(same.expand(steps, *same.shape[1:]))
    if isinstance(neuron, Leaky) and triton_neuron.can_run(current, neuron):
        suffice = not membranes and neuron.learned is None and triton_neuron.bits_suffice(neuron)
        return triton_neuron.scan_(current, neuron, spikes, pool, keep="bits" if suffice else "membrane")
    current = current.to(state_dtype(current.dtype))
    membrane = neuron.scan(current, learns=learns) if isinstance(neuron, ModuleNeuron) else neuron.scan(current)
    fired = neuron.spikes(membrane)
    pooled = fired if max(pool) == 1 else F.avg_pool2d(fired.flatten(0, 1), tuple(pool)).unflatten(0, fired.shape[:2])
    spikes.copy_(pooled)
    return membrane, fired.mean(0)


def fire_back(
    tape: Tensor,
    neuron: Dynamics,
    *,
    grad_spikes: Tensor | None = None,
    grad_membrane: Tensor | None = None,
    summed: bool = False,
    dtype: torch.dtype,
) -> Tensor:
    """Gradient of the currents, ``[T, B, *]``, as in :func:`adjoint`; the tape may be overwritten.

    Gradients of constants that are learned are added to ``.grad``.

    Args:
        tape: What :func:`fire` gave.
        neuron: The layer's constants.
        grad_spikes: ∂L/∂s_t, ``[T or 1, B, *]``.
        grad_membrane: ∂L/∂v_t, ``[T or 1, B, *]``.
        summed: Give the sum over all steps, ``[1, B, *]``, for currents that are the same at every step.
        dtype: Of the currents, and of their gradient.
    """
    gradients = {"grad_spikes": grad_spikes, "grad_membrane": grad_membrane}
    if grad_spikes is None and grad_membrane is None:
        return torch.zeros_like(tape[:1] if summed else tape, dtype=dtype)
    if isinstance(neuron, Leaky) and can_run(tape, neuron):
        return adjoint_(tape, neuron, **gradients, summed=summed).to(dtype)
    if summed:
        a = fire_back(tape, neuron, grad_spikes=grad_spikes, grad_membrane=grad_membrane, dtype=state_dtype(dtype))
        return a.sum(0, keepdim=True).to(dtype)
    if isinstance(neuron, Leaky) and neuron.learned is not None:
        fixed = replace(neuron, learned=None)
        a = fire_back(tape.clone(), fixed, grad_spikes=grad_spikes, grad_membrane=grad_membrane, dtype=tape.dtype)
        neuron.learned.accumulate(*learned_constants.gradients(tape, a, neuron, grad_membrane=grad_membrane))
        return a.to(dtype)
    if isinstance(neuron, Leaky) and (holds_bits(tape) or triton_neuron.can_run(tape, neuron)):
        return triton_neuron.adjoint_(tape, neuron, **gradients, dtype=dtype)
    return neuron.adjoint(tape, **gradients).to(dtype)


def _like_steps_of(current: Tensor, steps: int) -> Tensor:
    """Memory for all steps of a current ``[1, B, *]``, laid out as it is."""
    neurons = current[0, 0]
    last = neurons.dim() > 1 and not neurons.is_contiguous() and neurons.movedim(0, -1).is_contiguous()
    return sample_major((steps, *current.shape[1:]), like=current, dtype=current.dtype, channels_last=last)


def holds_bits(tape: Tensor) -> bool:
    """Whether a tape holds a byte a step and no membrane potentials."""
    return tape.dtype is torch.uint8


def spikes_on(tape: Tensor, neuron: Dynamics) -> Tensor:
    """The spikes that a tape, or some steps of it, tells of, 0 or 1, its shape."""
    return (tape & 1).float() if holds_bits(tape) else neuron.spikes(tape)
