"""The spike time of a non-leaky integrate-and-fire layer, and who caused it.

Time is exponential throughout: an event at t arrives at z = exp(t). A neuron adds up what its synapses bring,

    V(z) = Σ_{z_i <= z} w_i (1 - z_i / z)                    threshold 1, one spike per neuron

so that, had it heard the k earliest inputs and no other, it would reach the threshold at

    z_k = Σ_{i<=k} w_i z_i / (Σ_{i<=k} w_i - 1)              valid if Σ_{i<=k} w_i > 1 and z_k >= z_(k)

It fires at the earliest valid candidate, z_out; those k inputs are its causal set C. For weights that are not
negative this is exactly the first time at which V reaches 1. With negative weights it can be earlier than that:
inhibition that arrives between z_(k) and z_k is not heard.

Two facts keep this small and fast. The sums over the k earliest inputs are *running* sums: going through the
inputs from early to late needs two numbers per neuron, never a [B, N_in, N_out] tensor. And the sums over *all*
inputs are plain matrix products, so whatever arrives last and together costs nothing extra: in an image coded
in spike times that is the background, most of the pixels.

The loops over the inputs are compiled where numba is installed (:mod:`snntorch_brp.shifting.compiled`); the ones
here are the same in torch, for any device.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from snntorch_brp.shifting import compiled

SILENT = 1e5
"""The time of a neuron that does not fire. Whatever comes at or after it counts as silence."""

_NEVER = 1e30  # later than any candidate, and finite: 0 · inf would be NaN
_BLOCK = 1 << 15  # neurons x samples that a loop works on at once: what it touches stays in the processor's cache


class Events(NamedTuple):
    """Input spikes, early to late; a synapse may bring any number of them.

    Attributes:
        times: [B, E], z = exp(t), ascending along E; a time >= SILENT is no spike (silence, padding).
        synapses: [B, E], which input each spike came through (int64); any valid index where there is no spike.
        n_in: Number of synapses of each neuron, N_in.
    """

    times: Tensor
    synapses: Tensor
    n_in: int


class Fired(NamedTuple):
    """What a layer did with its input.

    Attributes:
        z: [B, N_out], the spike times z_out, SILENT where there was no spike.
        last: [B, N_out], the time of the latest input of the causal set: C = {i: z_i <= last}; 0 where there was
            no spike.
        excess: [B, N_out], Σ_C w - 1, positive; 1 where there was no spike.
    """

    z: Tensor
    last: Tensor
    excess: Tensor


def one_spike_each(times: Tensor) -> Events:
    """Sort one spike time per input, [B, N_in], into events.

    Raises:
        ValueError: If a time is NaN, zero or negative, or the shape is not [B, N_in].
    """
    _check(times)
    ordered, synapses = times.clamp(max=SILENT).sort(dim=1, stable=True)
    return Events(ordered, synapses, times.shape[1])


def several_spikes(times: Tensor, synapses: Tensor, n_in: int) -> Events:
    """Check a time-sorted list of (time, synapse) and add what is missing.

    Args:
        times: [E], or [B, E] padded with ``inf`` (anything >= SILENT); ascending along E.
        synapses: int64, of the same shape; any index where ``times`` is padding.
        n_in: Number of synapses.

    Raises:
        ValueError: If shapes differ, times are unsorted, NaN, zero or negative, or a synapse does not exist.
    """
    if times.shape != synapses.shape:
        raise ValueError(f"every spike needs a synapse: times are {list(times.shape)}, synapses {list(synapses.shape)}")
    if times.ndim == 1:
        times, synapses = times[None], synapses[None]
    _check(times)
    times = times.clamp(max=SILENT)
    synapses = synapses.masked_fill(times >= SILENT, 0)
    if bool((times.diff(dim=1) < 0).any()):
        raise ValueError("spikes must be sorted early to late: order = times.argsort(dim=-1)")
    if synapses.numel() and not 0 <= int(synapses.min()) <= int(synapses.max()) < n_in:
        raise ValueError(f"synapses must lie in 0..{n_in - 1}, got {int(synapses.min())}..{int(synapses.max())}")
    return Events(times, synapses, n_in)


def first_spikes(events: Events, w: Tensor) -> Fired:
    """Spike times and causal sets of all neurons of a layer (equations: see the module).

    Inputs that arrive at the same time are heard together, so the result does not depend on their order.

    Args:
        events: The input spikes.
        w: [N_in, N_out], of any sign.
    """
    times, synapses, _ = events
    end, before_end = _last_arrival(times)
    # A candidate counts once everything that arrives together with its last input has been heard.
    together = torch.diff(times, append=times.new_full((len(times), 1), SILENT)) == 0
    earliest = times.masked_fill(together, _NEVER)
    loop = compiled.first_spikes if compiled.usable(times, w) else _first_spikes
    z, last, excess = loop(times, synapses, earliest, before_end, w)

    spikes, sums = _per_synapse(events)
    a = spikes @ w - 1
    candidate = (sums @ w) / a  # the one that hears all inputs
    better = (a > 0) & (candidate >= end[:, None]) & (candidate < z)
    z = torch.where(better, candidate, z)
    silent = z >= SILENT
    return Fired(
        z.masked_fill(silent, SILENT),
        torch.where(better, end[:, None], last).masked_fill(silent, 0.0),
        torch.where(better, a, excess).masked_fill(silent, 1.0),
    )


def causal_update(events: Events, fired: Fired, delta: Tensor) -> Tensor:
    """Σ_b Σ_{i ∈ C} δ_j (z_i - z_out,j): what every synapse makes of the error of its neuron, [N_in, N_out].

    Args:
        events: The input spikes.
        fired: What the layer did with them.
        delta: [B, N_out], the error of each neuron, with whatever factors the rule gives it.
    """
    times, synapses, _ = events
    end, before_end = _last_arrival(times)
    spikes, sums = _per_synapse(events)
    heard_all = (fired.last >= end[:, None]) & (fired.last > 0)
    d = delta * heard_all
    update = (sums.T @ d - spikes.T @ (d * fired.z)).contiguous()  # the loop adds to it in place
    d = delta * ~heard_all
    loop = compiled.causal_update if compiled.usable(times, delta) else _causal_update
    loop(times, synapses, before_end, fired.last * ~heard_all, d, d * fired.z, update)
    return update


def causal_error(times: Tensor, fired: Fired, delta: Tensor, w: Tensor) -> Tensor:
    """Σ_{j: i ∈ C_j} δ_j w_ij: the error of each input, [B, N_in], sent back through the forward weights.

    Args:
        times: [B, N_in], one spike time per input.
        fired: What the layer did with them.
        delta: [B, N_out], the error of each neuron.
        w: [N_in, N_out].
    """
    error = torch.zeros_like(times)
    for j in range(w.shape[1]):
        heard = torch.sub(fired.last[:, j, None], times).ge_(0)
        error.addcmul_(heard.mul_(w[:, j]), delta[:, j, None])
    return error


def _first_spikes(
    times: Tensor, synapses: Tensor, earliest: Tensor, length: Tensor, w: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The earliest valid candidate among those that hear 1..length inputs."""
    z = w.new_full((len(times), w.shape[1]), _NEVER)
    last, excess = torch.zeros_like(z), torch.ones_like(z)
    for rows in _blocks(length, w.shape[1]):
        z_b, last_b, excess_b = z[rows], last[rows], excess[rows]
        a, s = torch.full_like(z_b, -1.0), torch.zeros_like(z_b)  # Σ w - 1 and Σ w z
        i, t, valid_from = synapses[rows].T, times[rows].T[..., None], earliest[rows].T[..., None]
        for k in range(int(length[rows].max())):
            w_k = w.index_select(0, i[k])
            a += w_k
            s.addcmul_(w_k, t[k])
            candidate = s / a.clamp(min=1e-20)  # where Σ w <= 1: far after SILENT, or before its last input
            # Masks are 0.0 or 1.0 in the dtype of the times: arithmetic is five times as fast as torch.where.
            candidate.add_(torch.sub(valid_from[k], candidate).gt_(0), alpha=_NEVER)
            better = torch.sub(candidate, z_b).lt_(0)
            z_b = torch.minimum(z_b, candidate)
            last_b.lerp_(t[k].expand_as(last_b), better)
            excess_b.lerp_(a, better)
            if k % 16 == 15 and bool((z_b.amax(dim=1) <= t[k + 1, :, 0]).all()):
                break  # all have fired, and no candidate comes before its last input
        z[rows], last[rows], excess[rows] = z_b, last_b, excess_b
    return z, last, excess


def _causal_update(
    times: Tensor, synapses: Tensor, length: Tensor, last: Tensor, d: Tensor, d_z: Tensor, update: Tensor
) -> None:
    """Add Σ_{z_i <= last} (d z_i - d_z) over the first ``length`` spikes to ``update``."""
    for rows in _blocks(length, d.shape[1]):
        d_b, d_z_b, last_b = d[rows], d_z[rows], last[rows]
        latest = last_b.max()
        i, t = synapses[rows].T, times[rows].T[..., None]
        for k in range(int(length[rows].max())):
            if k % 16 == 0 and bool(t[k].min() > latest):
                break  # nobody has heard what comes now
            heard = torch.sub(last_b, t[k]).ge_(0)
            update.index_add_(0, i[k], torch.mul(d_b, t[k]).sub_(d_z_b).mul_(heard))


def _blocks(length: Tensor, n_out: int) -> tuple[Tensor, ...]:
    """Samples in blocks that fit the cache, those of like length together."""
    return length.argsort().split(max(1, _BLOCK // n_out))


def _last_arrival(times: Tensor) -> tuple[Tensor, Tensor]:
    """Per sample: the time of the last spike, [B] (0 if there is none), and how many spikes come before it."""
    end = (times * (times < SILENT)).amax(dim=1) if times.shape[1] else times.new_zeros(len(times))
    return end, (times < end[:, None]).sum(dim=1)


def _per_synapse(events: Events) -> tuple[Tensor, Tensor]:
    """How many spikes each synapse brings, and the sum of their times, both [B, N_in]."""
    times, synapses, n_in = events
    spikes = (times < SILENT).to(times)
    empty = times.new_zeros(len(times), n_in)
    return empty.scatter_add(1, synapses, spikes), empty.scatter_add(1, synapses, spikes * times)


def _check(times: Tensor) -> None:
    if times.ndim != 2:
        raise ValueError(f"spike times must be [B, N_in], got {list(times.shape)}: a single sample is x[None]")
    if not bool((times > 0).all()):
        raise ValueError("spike times z = exp(t) must be positive, and inf or >= 1e5 for silence; found NaN or <= 0")
