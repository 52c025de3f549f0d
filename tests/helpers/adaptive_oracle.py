"""A layer of neurons with adaptive thresholds as plain loops in float64, and its gradient carried forwards in time.

Nothing here comes from the package or from autograd. A bias is a synapse whose input is always 1: the last one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Adaptive:
    """v_t = g v_{t-1} + I_t - θ s_{t-1}, a_t = ρ a_{t-1} + s_{t-1}, s_t = v_t > θ + β_a a_t; ψ is 1 within 0.5."""

    g: float
    theta: float
    beta_a: float
    rho: float
    reset: str = "subtract"


@dataclass
class Trace:
    """What a layer did for one sample, each ``[T][neurons]``."""

    x: list[list[float]]
    v: list[list[float]] = field(default_factory=list)
    above: list[list[float]] = field(default_factory=list)  # v_t - A_t
    s: list[list[float]] = field(default_factory=list)


def run(weight: np.ndarray, bias: np.ndarray, neuron: Adaptive, x: list[list[float]]) -> Trace:
    """One layer, one sample, all steps."""
    trace, n = Trace(x), len(bias)
    a = [0.0] * n
    for t in range(len(x)):
        v, above, s = [], [], []
        for i in range(n):
            v_before, s_before = (trace.v[t - 1][i], trace.s[t - 1][i]) if t else (0.0, 0.0)
            past = neuron.g * v_before
            if neuron.reset == "subtract":
                past -= neuron.theta * s_before
            elif neuron.reset == "zero" and s_before:
                past = 0.0
            a[i] = neuron.rho * a[i] + s_before
            v.append(past + bias[i] + sum(weight[i, j] * x[t][j] for j in range(len(x[t]))))
            above.append(v[i] - (neuron.theta + neuron.beta_a * a[i]))
            s.append(1.0 if above[i] > 0 else 0.0)
        trace.v.append(v)
        trace.above.append(above)
        trace.s.append(s)
    return trace


def gradient(neuron: Adaptive, trace: Trace, delta: Callable[[int, int], float]) -> np.ndarray:
    """Σ_t δ_i(t) ds_i(t)/dw_ij, with dv, da and ds of every connection carried forwards; the reset is a constant."""
    x = [[*x_t, 1.0] for x_t in trace.x]
    n, m = len(trace.v[0]), len(x[0])
    found = np.zeros((n, m))
    for i in range(n):
        for j in range(m):
            dv = da = ds = 0.0
            for t in range(len(x)):
                kept = neuron.g
                if neuron.reset == "zero" and t and trace.s[t - 1][i]:
                    kept = 0.0
                dv = kept * dv + x[t][j]
                da = neuron.rho * da + ds
                psi = 1.0 if abs(trace.above[t][i]) < 0.5 else 0.0
                ds = psi * (dv - neuron.beta_a * da)
                found[i, j] += delta(t, i) * ds
    return found
