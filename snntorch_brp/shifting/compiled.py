"""The two loops over input spikes, compiled by numba where it is installed; the same results as in torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

try:
    import numba
except ImportError:  # an extra: everything works without, several times slower
    numba = None


def usable(*tensors: Tensor) -> bool:
    """Whether the compiled loops can take these tensors."""
    return numba is not None and all(
        t.device.type == "cpu" and t.dtype in (torch.float32, torch.float64) for t in tensors
    )


def first_spikes(
    times: Tensor, synapses: Tensor, earliest: Tensor, length: Tensor, w: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The earliest valid candidate among those that hear 1..length inputs."""
    z = w.new_empty(len(times), w.shape[1])
    last, excess = torch.empty_like(z), torch.empty_like(z)
    _first_spikes(*_arrays(times, synapses, earliest, length, w, z, last, excess))
    return z, last, excess


def causal_update(
    times: Tensor, synapses: Tensor, length: Tensor, last: Tensor, d: Tensor, d_z: Tensor, update: Tensor
) -> None:
    """Add Σ_{z_i <= last} (d z_i - d_z) over the first ``length`` spikes to ``update``."""
    _causal_update(*_arrays(times, synapses, length, last, d, d_z, update))


def _arrays(*tensors: Tensor) -> list[Any]:
    return [t.detach().contiguous().numpy() for t in tensors]


def _compile(function: Callable[..., None]) -> Callable[..., None]:
    if numba is None:
        return function
    options: dict[str, Any] = {"error_model": "numpy", "nogil": True}
    compiled: Callable[..., None]
    try:
        compiled = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # nowhere to keep the compiled code: compile anew in each process
        compiled = numba.njit(**options)(function)
    return compiled


@_compile
def _first_spikes(times, synapses, earliest, length, w, z, last, excess):  # type: ignore[no-untyped-def]
    z_b, last_b, excess_b, a, s = w[0].copy(), w[0].copy(), w[0].copy(), w[0].copy(), w[0].copy()
    for b in range(len(times)):
        z_b[:], last_b[:], excess_b[:] = 1e30, 0, 1
        a[:], s[:] = -1, 0  # Σ w - 1 and Σ w z
        for k in range(length[b]):
            t, valid_from, w_k = times[b, k], earliest[b, k], w[synapses[b, k]]
            for j in range(len(a)):
                a[j] += w_k[j]
                s[j] += w_k[j] * t
                candidate = s[j] / a[j]
                better = (a[j] > 0) & (candidate >= valid_from) & (candidate < z_b[j])
                z_b[j] = candidate if better else z_b[j]
                last_b[j] = t if better else last_b[j]
                excess_b[j] = a[j] if better else excess_b[j]
            if k % 8 == 7 and z_b.max() <= times[b, k + 1]:
                break  # all have fired, and no candidate comes before its last input
        z[b], last[b], excess[b] = z_b, last_b, excess_b


@_compile
def _causal_update(times, synapses, length, last, d, d_z, update):  # type: ignore[no-untyped-def]
    zero = update.dtype.type(0)
    for b in range(len(times)):
        last_b, d_b, d_z_b = last[b], d[b], d_z[b]
        latest = last_b.max()
        for k in range(length[b]):
            t = times[b, k]
            if t > latest:
                break  # nobody has heard what comes now
            update_i = update[synapses[b, k]]
            for j in range(len(d_b)):
                update_i[j] += (d_b[j] * t - d_z_b[j]) if t <= last_b[j] else zero
