"""The scan and its adjoint with the state in cache: :mod:`snntorch_brp.fused.scan` in C++, called by ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from snntorch_brp.fused.build import Kernels, library
from snntorch_brp.fused.learned_constants import before_first_step
from snntorch_brp.fused.pointers import address
from snntorch_brp.fused.scan import Leaky

_RESETS = {"forget": 0, "subtract": 1, "none": 2}
_NAMES = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16", torch.uint8: "uint8"}


_FORMS = {
    "boxcar": 1,
    "fast_sigmoid": 2,
    "atan": 3,
    "straight_through_estimator": 4,
    "triangular": 5,
    "heaviside": 6,
}  # of pseudo-gradients; others are given as numbers, 0


class _Neuron(ctypes.Structure):
    _fields_ = [
        ("beta", ctypes.c_double),
        ("threshold", ctypes.c_double),
        ("v_rest", ctypes.c_double),
        ("v_reset", ctypes.c_double),
        ("slope", ctypes.c_double),
        ("betas", ctypes.c_void_p),
        ("thresholds", ctypes.c_void_p),
        ("reset", ctypes.c_int32),
        ("tau_ref", ctypes.c_int32),
        ("detach_reset", ctypes.c_int32),
        ("form", ctypes.c_int32),
    ]


class _Shape(ctypes.Structure):
    _fields_ = [
        ("steps", ctypes.c_int64),
        ("samples", ctypes.c_int64),
        ("step_stride", ctypes.c_int64),
        ("sample_stride", ctypes.c_int64),
        ("planes", ctypes.c_int64),
        ("height", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("channels_last", ctypes.c_int64),
    ]


class _Strided(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("step_stride", ctypes.c_int64), ("sample_stride", ctypes.c_int64)]


_kernels = Kernels("neuron", (_Neuron, _Shape, _Strided))


def can_run(current: Tensor, neuron: Leaky) -> bool:
    """Whether the kernels run these neurons: leaky ones on the CPU, in single or double precision.

    Args:
        current: Input currents or membranes, ``[T, B, *]``.
        neuron: The layer's constants.
    """
    return (
        current.device.type == "cpu"
        and current.dtype in (torch.float32, torch.float64)
        and neuron.tau_ref < 256
        and (neuron.tau_ref == 1 or neuron.learned is None)
        and current.layout is torch.strided
        and current.numel() > 0
        and (_is_dense(current) or _is_channels_last(current))
        and library() is not None
    )


def scan_(current: Tensor, neuron: Leaky, spikes: Tensor, pool: Sequence[int], *, same: Tensor | None = None) -> Tensor:
    """:func:`scan` in place: ``current`` becomes the membrane, and ``spikes`` is filled, pooled.

    Args:
        current: Input currents, ``[T, B, *]``; each sample's step contiguous, or with channels last.
        neuron: The layer's constants.
        spikes: Where spikes go, ``[T, B, *]``, averaged over windows of ``pool``; in the dtype of ``current``, in
            bfloat16 for float32, or in uint8 where nothing is pooled. With channels last where nothing is pooled.
        pool: Height and width of the pooling, (1, 1) for none.
        same: The current that is the same at every step, ``[1, B, *]``; then what ``current`` holds does not count.

    Returns:
        Mean spike rate of each neuron, ``[B, *]``.
    """
    held = _in_memory(current)
    own = _own_constants(neuron, held, channels_last=not _is_dense(current))
    rate = held.new_empty(held.shape[1:])
    alike = _alike(same, current)
    every = None if alike is None else alike[0].contiguous()
    if not _is_dense(spikes):  # channels last: as they lie in memory, neurons are a row of numbers
        if _is_dense(current):
            fired = torch.empty_like(spikes, memory_format=torch.contiguous_format)
            rate = scan_(current, neuron, fired, pool, same=same)
            spikes.copy_(fired)
            return rate
        shape, spikes = _shape(held, pool), _in_memory(spikes)
        spikes_shape = tuple(held.shape)
    else:
        shape, spikes_shape = _shape(current, pool), pooled(current.shape, pool)
    kernel = f"scan_{_NAMES[current.dtype]}" + (f"_to_{_NAMES[spikes.dtype]}" if spikes.dtype != current.dtype else "")
    _kernels(kernel)(
        address(held, "currents", dtype=current.dtype, shape=held.shape, free=2, written=True),
        ctypes.byref(shape),
        ctypes.byref(_neuron(neuron, own, held)),
        None if every is None else address(every, "currents", dtype=held.dtype, shape=held.shape[1:]),
        address(spikes, "spikes", dtype=spikes.dtype, shape=spikes_shape, free=2, written=True),
        *map(ctypes.c_int64, (spikes.stride(0), spikes.stride(1), *pool)),
        address(rate, "rates", dtype=current.dtype, shape=held.shape[1:], written=True),
    )
    return rate if _is_dense(current) else rate.movedim(-1, 1)


def adjoint_(
    membrane: Tensor,
    neuron: Leaky,
    *,
    grad_spikes: Tensor | None = None,
    grad_membrane: Tensor | None = None,
    summed: bool = False,
) -> Tensor:
    """:func:`adjoint` in place: ``membrane`` becomes the gradient of the currents, and is returned.

    With ``summed`` its sum over all steps is returned, ``[1, B, *]``. Gradients of constants that are learned are added
    to ``.grad``.
    """
    psi = None if neuron.form is not None and neuron.form.name in _FORMS else neuron.psi(membrane)
    held = _in_memory(membrane)
    own = _own_constants(neuron, held, channels_last=not _is_dense(membrane))
    gradients = [_alike(x, membrane) for x in (grad_spikes, grad_membrane, psi)]
    learned = None if neuron.learned is None else held.new_empty(2, *held.shape[1:])  # of decay and threshold
    total = held.new_empty(held.shape[1:]) if summed else None
    _kernels(f"adjoint_{_NAMES[membrane.dtype]}")(
        address(held, "membranes", dtype=membrane.dtype, shape=held.shape, free=2, written=True),
        ctypes.byref(_shape(membrane, (1, 1))),
        ctypes.byref(_neuron(neuron, own, held)),
        *(ctypes.byref(_strided(x, held)) for x in gradients),
        None
        if learned is None
        else address(learned, "gradients", dtype=held.dtype, shape=(2, *held.shape[1:]), written=True),
        None if total is None else address(total, "sums", dtype=held.dtype, shape=held.shape[1:], written=True),
    )
    if neuron.learned is not None and learned is not None:
        grad_beta, grad_threshold = (learned if _is_dense(membrane) else learned.movedim(-1, 2)).sum(1)
        grad_threshold += before_first_step(membrane, membrane, neuron)  # of one step, and so of no membranes
        neuron.learned.accumulate(grad_beta, grad_threshold)
    if total is None:
        return membrane
    return (total if _is_dense(membrane) else total.movedim(-1, 1))[None]


def _is_dense(x: Tensor) -> bool:
    """Whether each step of each sample of ``x``, ``[T, B, *]``, is one contiguous piece of memory."""
    return x[0, 0].is_contiguous()


def _is_channels_last(x: Tensor) -> bool:
    return x.dim() > 3 and x[0, 0].movedim(0, -1).is_contiguous()


def _in_memory(x: Tensor) -> Tensor:
    """``x`` with its dimensions in the order of memory."""
    return x if _is_dense(x) else x.movedim(2, -1)


def _alike(x: Tensor | None, like: Tensor) -> Tensor | None:
    """``x``, ``[T or 1, B, *]``, laid out in memory as ``like``."""
    if x is None:
        return None
    x = x.to(like.dtype).expand(len(x), *like.shape[1:])
    x = x if _is_dense(like) else x.movedim(2, -1)
    return x if _is_dense(x) else x.contiguous()


def _strided(x: Tensor | None, like: Tensor) -> _Strided:
    if x is None:
        return _Strided(None, 0, 0)
    shape = (len(like) if len(x) > 1 else 1, *like.shape[1:])
    data = address(x, "a gradient", dtype=like.dtype, shape=shape, free=2)
    return _Strided(data, x.stride(0) if len(x) > 1 else 0, x.stride(1))


def pooled(shape: Sequence[int], pool: Sequence[int]) -> tuple[int, ...]:
    """Shape of spikes ``[T, B, C, H, W]`` or ``[T, B, C, W]`` averaged over windows of ``pool``.

    Raises:
        ValueError: If the neurons have no height or width that could be pooled.
    """
    places = max(len(shape) - 3, 0)  # dimensions behind the channels
    if any(window > 1 for window in pool[: max(2 - places, 0)]):
        raise ValueError(f"neurons {tuple(shape[2:])} cannot be pooled over windows of {tuple(pool)}")
    windows = (1,) * (len(shape) - min(places, 2)) + tuple(pool[2 - min(places, 2) :])
    return tuple(size // window for size, window in zip(shape, windows, strict=True))


def _shape(x: Tensor, pool: Sequence[int]) -> _Shape:
    T, B, *neurons = x.shape
    channels_last = not _is_dense(x)
    if channels_last:
        planes = neurons[0]
        height, width = (1, *neurons[1:])[-2:]
    elif max(pool) > 1:
        height, width = neurons[-2:]
        planes = x[0, 0].numel() // (height * width)
    else:  # pieces of any shape, small enough for the first cache
        planes, height, width = 1, 1, x[0, 0].numel()
        while width % 2 == 0 and width > 1024:
            planes, width = planes * 2, width // 2
    return _Shape(T, B, x.stride(0), x.stride(1), planes, height, width, channels_last)


def _own_constants(neuron: Leaky, held: Tensor, channels_last: bool) -> list[Tensor]:
    """Decay and threshold of each neuron of a sample, as they lie in memory; nothing where a layer has one of each."""
    if neuron.beta.numel() == 1 and neuron.threshold.numel() == 1:
        return []
    shape = (*held.shape[-1:], *held.shape[2:-1]) if channels_last else held.shape[2:]
    each = [value.expand(shape) for value in (neuron.beta, neuron.threshold)]
    return [(value.movedim(0, -1) if channels_last else value).contiguous() for value in each]


def _neuron(neuron: Leaky, own: Sequence[Tensor], held: Tensor) -> _Neuron:
    """The constants as C++ takes them; ``own`` must live until the call is over."""
    form = _FORMS.get(neuron.form.name, 0) if neuron.form is not None else 0
    each: list[ctypes.c_void_p | None] = [
        address(x, "constants", dtype=held.dtype, shape=held.shape[2:]) for x in own
    ] or [None, None]
    return _Neuron(
        0.0 if own else float(neuron.beta),
        0.0 if own else float(neuron.threshold),
        neuron.v_rest,
        neuron.v_reset,
        neuron.form.slope if neuron.form is not None else 0.0,
        *each,
        _RESETS[neuron.reset],
        neuron.tau_ref,
        neuron.detach_reset,
        form,
    )
