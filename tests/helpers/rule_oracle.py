"""Plain loops written from the papers' equations, in float64: over samples, steps, neurons and connections.

Nothing here comes from the package or from autograd; the layers are run by :mod:`oracle`. A bias is a synapse whose
input is always 1: the last of a layer's inputs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import oracle

Signal = Callable[[int, int], float]
"""What neuron i hears at step t: δ_i(t)."""


def run_layers(
    weights: list[tuple[np.ndarray, np.ndarray]], neuron: oracle.Neuron, x: np.ndarray
) -> list[oracle.Trace]:
    """What each layer did with one sample ``x`` ``[T][inputs]``."""
    traces, given = [], x.tolist()
    for weight, bias in weights:
        traces.append(oracle.run(oracle.linear(weight, bias), neuron, given))
        given = traces[-1].s
    return traces


def with_bias(x: list[list[float]]) -> list[list[float]]:
    """The inputs and, last, the bias's constant 1."""
    return [[*x_t, 1.0] for x_t in x]


def psi(neuron: oracle.Neuron, v: float) -> float:
    """The boxcar pseudo-derivative."""
    return 1.0 if abs(v - neuron.theta) < neuron.half_width else 0.0


def leaky(x: list[list[float]], decay: float) -> list[list[float]]:
    """x̄_t = λ x̄_{t-1} + x_t."""
    bar: list[list[float]] = []
    for t, x_t in enumerate(x):
        bar.append([(decay * bar[t - 1][j] if t else 0.0) + x_t[j] for j in range(len(x_t))])
    return bar


def three_factor(neuron: oracle.Neuron, trace: oracle.Trace, delta: Signal, *, kappa: float = 0.0) -> np.ndarray:
    """ΔW_ij = Σ_t δ_i(t) ē_ij(t), ē(t) = κ ē(t-1) + ψ_i(t) x̄_j(t)."""
    bar = leaky(with_bias(trace.x), neuron.g)
    n, m = len(trace.v[0]), len(bar[0])
    gradient, filtered = np.zeros((n, m)), np.zeros((n, m))
    for t in range(len(bar)):
        for i in range(n):
            for j in range(m):
                filtered[i, j] = kappa * filtered[i, j] + psi(neuron, trace.v[t][i]) * bar[t][j]
                gradient[i, j] += delta(t, i) * filtered[i, j]
    return gradient


def timing(
    neuron: oracle.Neuron,
    trace: oracle.Trace,
    delta: Signal,
    *,
    pre: float,
    post: float,
    causal: float,
    anticausal: float,
    delay: int,
) -> np.ndarray:
    """S-TLLR: sums over all earlier steps, written out."""
    x = with_bias(trace.x)
    n, m = len(trace.v[0]), len(x[0])
    gradient = np.zeros((n, m))
    for t in range(delay, len(x)):
        for i in range(n):
            for j in range(m):
                before = sum(pre ** (t - u) * x[u][j] for u in range(t + 1))
                after = sum(post ** (t - u) * psi(neuron, trace.v[u][i]) for u in range(t))
                e = causal * psi(neuron, trace.v[t][i]) * before + anticausal * x[t][j] * after
                gradient[i, j] += delta(t, i) * e
    return gradient


def rewarded_pairs(
    trace: oracle.Trace, reward: float, *, plus: float, minus: float, pre: float, post: float, left: float
) -> np.ndarray:
    """MSTDPET: -r z_ij(T), z(t) = λ_z z(t-1) + P⁺_j(t) s_i(t) + P⁻_i(t) x_j(t)."""
    x, s = with_bias(trace.x), trace.s
    n, m = len(s[0]), len(x[0])
    p_plus, p_minus, z = np.zeros(m), np.zeros(n), np.zeros((n, m))
    for t in range(len(x)):
        for j in range(m):
            p_plus[j] = pre * p_plus[j] + plus * x[t][j]
        for i in range(n):
            p_minus[i] = post * p_minus[i] + minus * s[t][i]
        for i in range(n):
            for j in range(m):
                z[i, j] = left * z[i, j] + p_plus[j] * s[t][i] + p_minus[i] * x[t][j]
    return -reward * z


def real_time(
    neuron: oracle.Neuron, trace: oracle.Trace, delta: Signal, recurrent: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Σ_t δ_i(t) ds_i(t)/dθ by real-time recurrent learning, with ε = dv/dθ carried forwards.

    A reset to zero passes its gradient on (``detach_reset=False``), one by subtraction does not, as in snnTorch.

    Args:
        recurrent: Weights V ``[N, N]`` of the layer's own spikes a step before, whose gradient is given, too.
    """
    x, v, s = with_bias(trace.x), trace.v, trace.s
    n, m = len(v[0]), len(x[0])
    inputs = [[*x[t], *(s[t - 1] if t else [0.0] * n)] for t in range(len(x))] if recurrent is not None else x
    width = len(inputs[0])
    epsilon, gradient = np.zeros((n, n, width)), np.zeros((n, width))  # dv_i / dw_pq
    for t in range(len(x)):
        before = epsilon.copy()
        for i in range(n):
            kept = 0.0
            if t:
                kept = neuron.g
                if neuron.reset == "zero":
                    kept = neuron.g * (1 - s[t - 1][i]) - neuron.g * v[t - 1][i] * psi(neuron, v[t - 1][i])
            epsilon[i] = kept * before[i]
            if recurrent is not None and t:
                for k in range(n):
                    epsilon[i] += recurrent[i, k] * psi(neuron, v[t - 1][k]) * before[k]
            for q in range(width):
                epsilon[i, i, q] += inputs[t][q]
        for i in range(n):
            gradient += delta(t, i) * psi(neuron, v[t][i]) * epsilon[i]
    return (gradient, None) if recurrent is None else (gradient[:, :m], gradient[:, m:])


def run_recurrent(
    weight: np.ndarray, bias: np.ndarray, V: np.ndarray, c: np.ndarray, neuron: oracle.Neuron, x: list[list[float]]
) -> oracle.Trace:
    """A recurrent leaky layer: v_t = g v_{t-1} - θ s_{t-1} + W x_t + b + V s_{t-1} + c."""
    trace = oracle.Trace(x)
    n = len(bias)
    for t in range(len(x)):
        v = []
        for i in range(n):
            current = bias[i] + sum(weight[i, j] * x[t][j] for j in range(len(x[t])))
            current += c[i] + (sum(V[i, k] * trace.s[t - 1][k] for k in range(n)) if t else 0.0)
            past = neuron.g * trace.v[t - 1][i] - neuron.theta * trace.s[t - 1][i] if t else 0.0
            v.append(past + current)
        trace.v.append(v)
        trace.s.append([1.0 if potential > neuron.theta else 0.0 for potential in v])
    return trace


def in_space(
    weights: list[np.ndarray], neuron: oracle.Neuron, traces: list[oracle.Trace], target: list[float], scale: float
) -> list[list[list[float]]]:
    """∂L_t/∂s_t of every layer, [layer][T][neurons], for L_t = scale/2 Σ_k (s_k(t) - target_k)², back within a step."""
    T = len(traces[0].v)
    found: list[list[list[float]]] = [[] for _ in traces]
    for t in range(T):
        delta = [scale * (s - y) for s, y in zip(traces[-1].s[t], target, strict=True)]
        found[-1].append(delta)
        for layer in reversed(range(len(traces) - 1)):
            behind = traces[layer + 1].v[t]
            delta = [
                sum(weights[layer + 1][i, j] * psi(neuron, behind[i]) * delta[i] for i in range(len(behind)))
                for j in range(len(traces[layer].v[t]))
            ]
            found[layer].append(delta)
    return found
