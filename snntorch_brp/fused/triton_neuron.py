"""The scan and its adjoint on a GPU: :mod:`snntorch_brp.fused.scan` in Triton kernels of our own.

Both are bound by memory alone: a step of a neuron costs some ten floating-point operations, and at 17 bytes a GPU
would need some hundred before arithmetic counted. So what matters is that each number is moved once, and these bytes
are moved a neuron and step, with spikes of one byte:

=============================================  =======================  ==============================  =====
tape (what the adjoint reads)                  forward                  adjoint, signal constant in T   total
=============================================  =======================  ==============================  =====
membrane, float32 currents (in place)          4 in + 4 tape + 1        4 tape + 4 out                  17
membrane, 16-bit currents and gradients        2 in + 4 tape + 1        4 tape + 2 out                  13
bits, float32 currents and gradients           4 in + 1 tape + 1        1 tape + 4 out                  11
bits, 16-bit currents and gradients            2 in + 1 tape + 1        1 tape + 2 out                  7
=============================================  =======================  ==============================  =====

Rates, the label's signal, decays and thresholds are moved once a neuron and not once a step. A signal that differs
from step to step adds its own width to the adjoint, a surrogate without a closed form adds 4 bytes for its ψ.
The roofline is bytes over bandwidth: T = 32, B = 64 and 65,536 neurons are 134 million neuron-steps, 2.28 GB at 17
bytes, which 1 TB/s moves in 2.3 ms.

Triton is an extra (``snntorch-brp[cuda]``; PyTorch for CUDA brings it), imported on first use. Under
``TRITON_INTERPRET=1`` the same kernels run on the CPU, slowly, which is how they are tested.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import astuple
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor

from snntorch_brp.fused.scan import Leaky

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
ZERO_OR_ONE = ("boxcar", "straight_through_estimator", "heaviside")  # what ψ is in these
NEEDED = (3, 3)  # Triton from here on lets a loop carry tuples
MAX_TAU = 16  # the adjoint holds a refractory period of membranes in registers
# Four neurons a thread, 16 bytes a load, and four loads in flight; one neuron where loads are narrow or where each
# neuron holds a refractory period.
BLOCK, UNROLL = 512, 4
LAUNCH = {"num_warps": 4, "enable_fp_fusion": False}  # a fused multiply-add rounds once where the definition does twice
WIDE = 16  # sizes and strides that this divides make all accesses aligned


def can_run(current: Tensor, neuron: Leaky) -> bool:
    """Whether the Triton kernels run these neurons: on a CUDA device (or interpreted), with a state in float32.

    Args:
        current: Input currents or membranes, ``[T, B, *]``.
        neuron: The layer's constants.
    """
    return (
        current.device.type == ("cpu" if _interpreted() else "cuda")
        and current.dtype in DTYPES
        and neuron.tau_ref <= MAX_TAU
        and current.dim() > 2
        and current.numel() > 0
        and _installed()
    )


def bits_suffice(neuron: Leaky) -> bool:
    """Whether membranes are not needed: ψ is 0 or 1, no gradient goes through the flag, no constant is learned."""
    return (
        neuron.learned is None
        and _pseudo_gradient(neuron)["SURROGATE"] in ZERO_OR_ONE
        and (neuron.detach_reset or neuron.reset != "forget")
    )


def scan_(
    current: Tensor,
    neuron: Leaky,
    spikes: Tensor,
    pool: Sequence[int] = (1, 1),
    *,
    how: Literal["average", "max"] = "average",
    keep: Literal["membrane", "bits"] = "membrane",
) -> tuple[Tensor, Tensor]:
    """Run a layer's neurons; float32 currents become the membranes, in place.

    Args:
        current: Input currents, ``[T, B, *]``.
        neuron: The layer's constants.
        spikes: Filled with the spikes, ``[T, B, *]``, pooled; floating point, uint8 or bool (whole numbers only where
            nothing is averaged). Each sample's step must be contiguous.
        pool: Height and width of the pooling, (1, 1) for none.
        how: Whether a window's spikes are averaged or their maximum is taken.
        keep: "bits" keeps a byte a neuron and step in place of the membrane, where :func:`bits_suffice`: bit 0 the
            spike, bit 1 ψ, bit 2 the refractory flag r_t.

    Returns:
        The tape for :func:`adjoint_`, membranes in float32 or bits in uint8, ``[T, B, *]``; and the mean rate of each
        neuron in float32, ``[B, *]``, under "bits" NaN where a membrane was not finite. Both before pooling.

    Raises:
        ValueError: If the bits do not suffice, or the spikes do not fit.
    """
    if keep == "bits" and not bits_suffice(neuron):
        raise ValueError("keep='bits' needs a ψ of 0 or 1 and detach_reset=True: use keep='membrane'")
    current = _dense(current)
    T, B, *shape = current.shape
    if list(spikes.shape[2:]) != _pooled(shape, pool) or spikes.shape[:2] != (T, B) or not spikes[0, 0].is_contiguous():
        raise ValueError(
            f"spikes must be {[T, B, *_pooled(shape, pool)]} with each sample's step contiguous, got "
            f"{list(spikes.shape)} with strides {spikes.stride()}"
        )
    out = spikes.view(torch.uint8) if spikes.dtype is torch.bool else spikes
    in_place = keep == "membrane" and current.dtype is torch.float32
    tape = current if in_place else _sample_major(current, torch.uint8 if keep == "bits" else torch.float32)
    rate = current.new_empty((B, *shape), dtype=torch.float32)
    height, width = (1, *shape)[-2:]
    sizes = {"neurons": math.prod(shape), "height": height, "width": width}
    strides = {**_strides("current", current), **_strides("tape", tape), **_strides("spikes", spikes)}
    wide = _wide([sizes["neurons"], width, *strides.values()], [current, tape, out, rate])
    sizes |= {"neurons": sizes["neurons"] // wide, "width": width // wide}
    psi = _pseudo_gradient(neuron) if keep == "bits" else {"SURROGATE": "given", "slope": 0.0, "other": 0.0}
    pad = 1 << (math.prod(pool) - 1).bit_length()  # a block's sides are powers of two
    block = max((BLOCK if wide > 1 else BLOCK // 4) // pad, 1)
    windows = B * math.prod(shape) // (height * width) * -(-height // pool[0]) * -(-width // pool[1])
    with _on(current):
        _kernels().scan[wide > 1][(-(-windows // block),)](
            *(current, tape, out, rate),
            **{**_constants(neuron, current), **sizes, **{name: stride // wide for name, stride in strides.items()}},
            **LAUNCH,
            T=T,
            B=B,
            tau_ref=neuron.tau_ref,
            **psi,
            RESET=neuron.reset,
            TAU_1=neuron.tau_ref == 1,
            BITS=keep == "bits",
            POOL_H=pool[0],
            POOL_W=pool[1],
            MAX=how == "max",
            PAD=pad,
            WIDE=wide,
            BLOCK=block,
            UNROLL=UNROLL,
        )
    return tape, rate


def adjoint_(
    tape: Tensor,
    neuron: Leaky,
    *,
    grad_spikes: Tensor | None = None,
    grad_membrane: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Gradient of the input currents, as :func:`snntorch_brp.fused.scan.adjoint` has it.

    Args:
        tape: From :func:`scan_`, ``[T, B, *]``; membranes may be overwritten.
        neuron: The layer's constants.
        grad_spikes: ∂L/∂s_t, ``[T or 1, B, *]``; what is constant in T is read once.
        grad_membrane: ∂L/∂v_t, ``[T or 1, B, *]``.
        dtype: Of the result; float32 gradients take the place of membranes.

    Returns:
        a_t = ∂L/∂I_t, ``[T, B, *]``.
    """
    bits = tape.dtype is torch.uint8
    tape = _dense(tape if bits else tape.float())
    T, B, *shape = tape.shape
    psi = None if neuron.form is not None else neuron.psi(tape)
    given = {"grad_spikes": grad_spikes, "grad_membrane": grad_membrane, "psi": psi}
    read = {name: _like(x, tape) for name, x in given.items()}
    out = tape if dtype is tape.dtype else _sample_major(tape, dtype)
    strides = {**_strides("tape", tape), **_strides("out", out)}
    strides |= {name: stride for role, x in read.items() for name, stride in _strides(role, x).items()}
    tensors = [tape, out, *read.values()]
    wide = _wide([math.prod(shape), *strides.values()], [x for x in tensors if x is not None])
    tau_ref = 1 if bits else neuron.tau_ref
    block = BLOCK if wide > 1 and tau_ref == 1 else BLOCK // 4
    with _on(tape):
        _kernels().adjoint[wide > 1][(-(-B * math.prod(shape) // block),)](
            *(tape if x is None else x for x in tensors),
            **{**_constants(neuron, tape), **{name: stride // wide for name, stride in strides.items()}},
            **LAUNCH,
            T=T,
            B=B,
            neurons=math.prod(shape) // wide,
            **_pseudo_gradient(neuron),
            FORGET=neuron.reset == "forget",
            THROUGH_FLAG=neuron.reset == "forget" and not neuron.detach_reset,
            TAU=tau_ref,
            BITS=bits,
            GRAD_SPIKES=_kind(read["grad_spikes"]),
            GRAD_MEMBRANE=_kind(read["grad_membrane"]),
            WIDE=wide,
            BLOCK=block,
            UNROLL=UNROLL if tau_ref == 1 else 1,
        )
    return out


@functools.cache
def _installed() -> bool:
    if importlib.util.find_spec("triton") is None:
        return False
    import triton

    return tuple(map(int, triton.__version__.split(".")[:2])) >= NEEDED


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def _kernels() -> ModuleType:
    from snntorch_brp.fused import triton_kernels  # on first use: importing Triton takes a second

    return triton_kernels


def _pseudo_gradient(neuron: Leaky) -> dict[str, object]:
    """ψ for the kernels: its name and two constants, or "given" where torch must make it."""
    name, slope, other = ("given", 0.0, 0.0) if neuron.form is None else astuple(neuron.form)
    return {"SURROGATE": name, "slope": slope, "other": other}


def _constants(neuron: Leaky, like: Tensor) -> dict[str, Tensor | float | bool]:
    """Decay and threshold in device memory (to read their values here would wait for the device) and potentials."""
    per_neuron = neuron.beta.numel() > 1 or neuron.threshold.numel() > 1

    def laid_out(value: Tensor) -> Tensor:
        value = value.to(like.device, torch.float32)
        return value.expand(like.shape[2:]).contiguous() if per_neuron else value.reshape(1)

    return {
        "beta_at": laid_out(neuron.beta),
        "threshold_at": laid_out(neuron.threshold),
        "PER_NEURON": per_neuron,
        "v_rest": float(neuron.v_rest),
        "v_reset": float(neuron.v_reset),
    }


def _pooled(shape: Sequence[int], pool: Sequence[int]) -> list[int]:
    windows = (*(1 for _ in shape[2:]), *pool[-min(len(shape), 2) :])
    return [size // window for size, window in zip(shape, windows, strict=True)]


def _dense(x: Tensor) -> Tensor:
    """``x``, ``[T, B, *]``, with each sample's step contiguous: itself if it is so already."""
    return x if x[0, 0].is_contiguous() else x.contiguous()


def _sample_major(like: Tensor, dtype: torch.dtype) -> Tensor:
    T, B, *shape = like.shape
    return like.new_empty((B, T, *shape), dtype=dtype).transpose(0, 1)


def _like(x: Tensor | None, tape: Tensor) -> Tensor | None:
    """``x``, ``[T or 1, B, *]``, in a dtype that the kernels read and as dense as the tape."""
    if x is None:
        return None
    x = x if x.dtype in DTYPES else x.float()
    return _dense(x.expand(len(x), *tape.shape[1:]))


def _kind(x: Tensor | None) -> str:
    return "none" if x is None else "constant" if len(x) == 1 else "steps"


def _strides(role: str, x: Tensor | None) -> dict[str, int]:
    step, sample = (0, 0) if x is None else x.stride()[:2]
    return {f"{role}_step": step, f"{role}_sample": sample}


def _wide(sizes: Sequence[int], tensors: Sequence[Tensor]) -> int:
    """WIDE if it divides all sizes and strides and all memory starts at a multiple of 16 bytes, else 1."""
    even = all(size % WIDE == 0 for size in sizes)
    return WIDE if even and all(x.data_ptr() % 16 == 0 for x in tensors) else 1


def _on(x: Tensor) -> AbstractContextManager[object]:
    """Triton launches on the current device."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()
