# mypy: ignore-errors
"""One layer of leaky neurons over all T steps in Triton: the scan, its pooling, and the way back.

The definitions are in :mod:`snntorch_brp.fused.scan`; this is the same arithmetic in the same order, with the state in
registers and the loop over T inside. T, the batch and all strides are run-time values, so one compilation serves every
sequence length and batch; what is fixed at compile time is the kind of neuron and whether its sizes allow wide loads.
Launched by :mod:`snntorch_brp.fused.triton_neuron`, which says what it costs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

try:
    import triton
    import triton.language as tl
except ImportError:  # an extra: plain torch does without
    triton = tl = None


def _jit(function: Callable[..., Any]) -> Any:
    return function if triton is None else triton.jit(function)


def _kernel(function: Callable[..., Any]) -> Any:
    """The kernel for memory of any alignment and, under True, the one whose every access is aligned.

    Integers get no compilation of their own for 1 or for multiples of 16, whatever T and the batch are.
    """
    if triton is None:
        return function
    integers = [name for name, kind in function.__annotations__.items() if kind in ("tl.int32", "tl.int64")]
    pointers = [name for name in function.__code__.co_varnames if name.endswith("_at")]
    loose = {True: ["beta_at", "threshold_at"], False: pointers}
    return {
        wide: triton.jit(do_not_specialize=integers, do_not_specialize_on_alignment=names)(function)
        for wide, names in loose.items()
    }


@_jit
def pseudo_gradient(u, slope, other, SURROGATE: tl.constexpr):
    """ψ of u = v - θ in closed form, as :mod:`snntorch_brp.fused.pseudo_gradients` has it."""
    if SURROGATE == "boxcar":
        psi = tl.where(tl.abs(u) < slope, 1.0, 0.0)
    elif SURROGATE == "fast_sigmoid":
        below = slope * tl.abs(u) + 1.0
        psi = 1.0 / (below * below)
    elif SURROGATE == "atan":
        scaled = 1.5707963267948966 * slope * u
        psi = slope / 2 / (1 + scaled * scaled)
    elif SURROGATE == "triangular":
        psi = tl.where(u >= 0, -slope, slope)
    elif SURROGATE == "heaviside":
        psi = tl.where(u > 0, 1.0, 0.0)
    elif SURROGATE == "sigmoid":  # in exp(-k |u|), which is the same and does not overflow
        e = tl.exp(-slope * tl.abs(u))
        psi = slope * e / ((e + 1.0) * (e + 1.0))
    elif SURROGATE == "spike_rate_escape":
        psi = slope * tl.exp(-other * tl.abs(u - 1.0))
    elif SURROGATE == "SFS":
        below = slope * tl.abs(u) + 1.0
        psi = tl.where(u > other, 1.0 / (below * below), 0.0)
    else:
        tl.static_assert(SURROGATE == "straight_through_estimator")
        psi = tl.full(u.shape, 1.0, tl.float32)
    return psi


@_kernel
def scan(
    current_at, tape_at, spikes_at, rate_at, beta_at, threshold_at,
    T: tl.int32, B: tl.int64, neurons: tl.int64, height: tl.int64, width: tl.int64,
    current_step: tl.int64, current_sample: tl.int64, tape_step: tl.int64, tape_sample: tl.int64,
    spikes_step: tl.int64, spikes_sample: tl.int64,
    tau_ref: tl.int32, v_rest, v_reset, slope, other,
    RESET: tl.constexpr, TAU_1: tl.constexpr, SURROGATE: tl.constexpr, PER_NEURON: tl.constexpr,
    BITS: tl.constexpr, POOL_H: tl.constexpr, POOL_W: tl.constexpr, MAX: tl.constexpr, PAD: tl.constexpr,
    WIDE: tl.constexpr, BLOCK: tl.constexpr, UNROLL: tl.constexpr,
):  # fmt: skip
    """Membranes or bits (the tape), pooled spikes and rates from currents ``[T, B, planes, height, width]``.

    Each row of the block is one window of the pooling, of ``PAD`` places of which ``POOL_H * POOL_W`` are real; the
    tape may be the currents. Strides, the neurons and the width come in units of ``WIDE`` elements. With ``BITS`` the
    rate is NaN where a membrane was not finite.
    """
    neurons, width = neurons * WIDE, width * WIDE
    high, wide = (height + POOL_H - 1) // POOL_H, (width + POOL_W - 1) // POOL_W
    windows = neurons if POOL_H * POOL_W == 1 else neurons // (height * width) * high * wide
    lane = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    sample, window = lane // windows, lane % windows
    k = tl.arange(0, PAD)[None, :]
    whole = lane < B * windows
    inside = whole[:, None] & (k < POOL_H * POOL_W)
    if POOL_H * POOL_W == 1:
        neuron, to = window[:, None], window
    else:
        plane, row, column = window // (high * wide), window // wide % high, window % wide
        y, x = row[:, None] * POOL_H + k // POOL_W, column[:, None] * POOL_W + k % POOL_W
        neuron = plane[:, None] * height * width + y * width + x
        inside = inside & (y < height) & (x < width)
        whole = whole & (row < height // POOL_H) & (column < width // POOL_W)
        to = plane * (height // POOL_H) * (width // POOL_W) + row * (width // POOL_W) + column
    at = current_at + sample[:, None] * (current_sample * WIDE) + neuron
    kept_to = tape_at + sample[:, None] * (tape_sample * WIDE) + neuron
    s_to = spikes_at + sample * (spikes_sample * WIDE) + to
    if PER_NEURON:
        beta, threshold = tl.load(beta_at + neuron, inside, 0.0), tl.load(threshold_at + neuron, inside, 0.0)
    else:
        beta, threshold = tl.load(beta_at), tl.load(threshold_at)
    v = tl.full((BLOCK, PAD), 0.0, tl.float32) + v_rest
    since = tl.where(v > threshold, 0, tau_ref)  # steps since the last spike, at most τ_ref
    count = tl.zeros((BLOCK, PAD), tl.float32)
    among = tl.full((BLOCK,), POOL_H * POOL_W, tl.float32)
    for start in range(0, T, UNROLL):
        read = ()
        for u in tl.static_range(UNROLL):  # all loads before the first use: they travel together
            read += (tl.load(at + (start + u) * (current_step * WIDE), inside & (start + u < T), 0.0).to(tl.float32),)
        for u in tl.static_range(UNROLL):
            t = start + u
            there = t < T
            if RESET == "forget":
                up = v > threshold if TAU_1 else since < tau_ref
                v = tl.where(up, v_reset, v_rest + beta * (v - v_rest)) + read[u]
            elif RESET == "subtract":
                v = (beta * v + read[u]) - tl.where(v > threshold, threshold, 0.0)
            else:
                v = beta * v + read[u]
            fired = v > threshold
            since = tl.where(fired, 0, tl.minimum(since + 1, tau_ref))
            s = tl.where(fired & inside & there, 1.0, 0.0)
            count += s
            kept = v
            if BITS:
                held_up = fired if TAU_1 else since < tau_ref
                open_to = pseudo_gradient(v - threshold, slope, other, SURROGATE) > 0
                kept = fired.to(tl.uint8) | (open_to.to(tl.uint8) << 1) | (held_up.to(tl.uint8) << 2)
                count += tl.where(there, v - v, 0.0)  # NaN where v is not finite, which the bits do not tell
            tl.store(kept_to + t * (tape_step * WIDE), kept, inside & there)
            pooled = tl.max(s, 1) if MAX else tl.div_rn(tl.sum(s, 1), among)
            tl.store(s_to + t * (spikes_step * WIDE), pooled.to(spikes_at.dtype.element_ty), whole & there)
    steps = tl.zeros((BLOCK, PAD), tl.float32) + T
    tl.store(rate_at + sample[:, None] * neurons + neuron, tl.div_rn(count, steps), inside)


@_kernel
def adjoint(
    tape_at, out_at, grad_spikes_at, grad_membrane_at, psi_at, beta_at, threshold_at,
    T: tl.int32, B: tl.int64, neurons: tl.int64,
    tape_step: tl.int64, tape_sample: tl.int64, out_step: tl.int64, out_sample: tl.int64,
    grad_spikes_step: tl.int64, grad_spikes_sample: tl.int64,
    grad_membrane_step: tl.int64, grad_membrane_sample: tl.int64, psi_step: tl.int64, psi_sample: tl.int64,
    v_rest, v_reset, slope, other,
    FORGET: tl.constexpr, THROUGH_FLAG: tl.constexpr, TAU: tl.constexpr, SURROGATE: tl.constexpr,
    PER_NEURON: tl.constexpr, BITS: tl.constexpr, GRAD_SPIKES: tl.constexpr, GRAD_MEMBRANE: tl.constexpr,
    WIDE: tl.constexpr, BLOCK: tl.constexpr, UNROLL: tl.constexpr,
):  # fmt: skip
    """Gradients of the currents from membranes (or bits) and from gradients on spikes and membranes.

    ``GRAD_SPIKES`` and ``GRAD_MEMBRANE`` are "none", "constant" (read once) or "steps". The output may be the tape.
    """
    neurons = neurons * WIDE
    lane = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = lane < B * neurons
    sample, neuron = lane // neurons, lane % neurons
    tape = tape_at + sample * (tape_sample * WIDE) + neuron
    out = out_at + sample * (out_sample * WIDE) + neuron
    gs_at = grad_spikes_at + sample * (grad_spikes_sample * WIDE) + neuron
    gm_at = grad_membrane_at + sample * (grad_membrane_sample * WIDE) + neuron
    given_at = psi_at + sample * (psi_sample * WIDE) + neuron
    if PER_NEURON:
        beta, threshold = tl.load(beta_at + neuron, inside, 0.0), tl.load(threshold_at + neuron, inside, 0.0)
    else:
        beta, threshold = tl.load(beta_at), tl.load(threshold_at)
    zero = tl.zeros((BLOCK,), tl.float32)
    gs, gm, a = zero, zero, zero
    if GRAD_SPIKES == "constant":
        gs = tl.load(gs_at, inside, 0.0).to(tl.float32)
    if GRAD_MEMBRANE == "constant":
        gm = tl.load(gm_at, inside, 0.0).to(tl.float32)
    silent, window, flags, counts = zero + threshold - 1.0, (), (), ()
    for k in tl.static_range(TAU - 1):  # v_t .. v_{t-τ_ref+2} wait for their turn; flags of t+1 .. t+τ_ref-1
        before = tl.where(T - 1 - k == -1, zero + v_rest, silent)
        held = tl.load(tape + (T - 1 - k) * (tape_step * WIDE), inside & (T - 1 - k >= 0), 0.0)
        window += (tl.where(T - 1 - k >= 0, held, before),)
        flags += (zero,)
        counts += (zero,)
    for start in range(0, T, UNROLL):
        read, gs_read, gm_read, psi_read = (), (), (), ()
        for u in tl.static_range(UNROLL):  # all loads before the first use: they travel together
            t = T - 1 - start - u
            there = inside & (t >= 0)
            first = t - (TAU - 1)  # the oldest spike that can hold up the flag r_t
            held = tl.load(tape + first * (tape_step * WIDE), inside & (first >= 0), 0)
            if not BITS:
                held = tl.where(first >= 0, held, tl.where(first == -1, zero + v_rest, silent))
            read += (held,)
            if GRAD_SPIKES == "steps":
                gs_read += (tl.load(gs_at + t * (grad_spikes_step * WIDE), there, 0.0).to(tl.float32),)
            if GRAD_MEMBRANE == "steps":
                gm_read += (tl.load(gm_at + t * (grad_membrane_step * WIDE), there, 0.0).to(tl.float32),)
            if SURROGATE == "given":
                psi_read += (tl.load(given_at + t * (psi_step * WIDE), there, 0.0).to(tl.float32),)
        for u in tl.static_range(UNROLL):
            t = T - 1 - start - u
            there = inside & (t >= 0)
            through = gs_read[u] if GRAD_SPIKES == "steps" else gs
            if BITS:
                psi, up = ((read[u] >> 1) & 1).to(tl.float32), ((read[u] >> 2) & 1) > 0
            else:
                window += (read[u],)
                v = window[0]
                s = tl.where(v > threshold, 1.0, 0.0)
                n = zero  # spikes that hold up the flag r_t
                for k in tl.static_range(TAU):
                    n += tl.where(window[k] > threshold, 1.0, 0.0)
                window = window[1:]
                up = n > 0
                psi = psi_read[u] if SURROGATE == "given" else pseudo_gradient(v - threshold, slope, other, SURROGATE)
                if THROUGH_FLAG:
                    flags = (a * (v_reset - (v_rest + beta * (v - v_rest))),) + flags  # noqa: RUF005
                    counts = (n,) + counts  # noqa: RUF005  (Triton knows no star in a tuple)
                    for j in tl.static_range(TAU):  # where no other spike holds up the flag r_{t+j}
                        through += tl.where(counts[j] == s, flags[j], 0.0)
                    flags, counts = flags[: TAU - 1], counts[: TAU - 1]
            carried = tl.where(up, 0.0, beta * a) if FORGET else beta * a
            a = ((gm_read[u] if GRAD_MEMBRANE == "steps" else gm) + psi * through) + carried
            tl.store(out + t * (out_step * WIDE), a.to(out_at.dtype.element_ty), there)
