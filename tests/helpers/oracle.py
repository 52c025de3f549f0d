"""A plain, slow oracle: the equations as loops over samples, layers, steps, neurons and connections, in float64.

Nothing here comes from the package or from autograd. A synapse is a list of connections, so that a convolution is
nothing but a linear layer with shared weights. A sequence of one sample is ``[T][neurons]``.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Neuron:
    """Eq. 2, with the pseudo-gradient of eq. 10; ``reset="subtract"`` is snnTorch's own reset by subtraction."""

    g: float
    theta: float
    tau_ref: int = 1
    v_rest: float = 0.0
    v_reset: float = 0.0
    detach_reset: bool = False
    reset: str = "zero"
    half_width: float = 0.5


@dataclass
class Synapse:
    """Connections (post, pre, weight index, bias index) with their flat weights and biases."""

    wiring: list[tuple[int, int, int]]
    bias_of: list[int]
    weight: np.ndarray
    bias: np.ndarray


@dataclass
class Trace:
    """What one layer did for one sample: input, membrane, spikes, flags; each ``[T][neurons]``."""

    x: list[list[float]]
    v: list[list[float]] = field(default_factory=list)
    s: list[list[float]] = field(default_factory=list)
    r: list[list[float]] = field(default_factory=list)


def linear(weight: np.ndarray, bias: np.ndarray) -> Synapse:
    """I_i = b_i + Σ_j W_ij x_j."""
    n_out, n_in = weight.shape
    wiring = [(i, j, i * n_in + j) for i in range(n_out) for j in range(n_in)]
    return Synapse(wiring, list(range(n_out)), weight.ravel().copy(), bias.copy())


def conv2d(weight: np.ndarray, bias: np.ndarray, height: int, width: int) -> Synapse:
    """A valid convolution of a ``[C_in, height, width]`` input, channels first."""
    c_out, c_in, kh, kw = weight.shape
    h_out, w_out = height - kh + 1, width - kw + 1
    wiring = []
    for o, y, x in itertools.product(range(c_out), range(h_out), range(w_out)):
        for c, dy, dx in itertools.product(range(c_in), range(kh), range(kw)):
            post = (o * h_out + y) * w_out + x
            pre = (c * height + y + dy) * width + x + dx
            wiring.append((post, pre, ((o * c_in + c) * kh + dy) * kw + dx))
    bias_of = [o for o in range(c_out) for _ in range(h_out * w_out)]
    return Synapse(wiring, bias_of, weight.ravel().copy(), bias.copy())


def run(synapse: Synapse, neuron: Neuron, x: list[list[float]]) -> Trace:
    """One layer, one sample, all T steps."""
    trace = Trace(x)
    n = len(synapse.bias_of)
    for t in range(len(x)):
        current = [synapse.bias[b] for b in synapse.bias_of]
        for post, pre, w in synapse.wiring:
            current[post] += synapse.weight[w] * x[t][pre]
        v, s, r = [], [], []
        for i in range(n):
            v_before = trace.v[t - 1][i] if t else neuron.v_rest
            r_before = trace.r[t - 1][i] if t else 0.0
            if neuron.reset == "subtract":
                h = neuron.g * v_before - r_before * neuron.theta
            else:
                decayed = neuron.v_rest + neuron.g * (v_before - neuron.v_rest)
                h = r_before * neuron.v_reset + (1 - r_before) * decayed
            v.append(h + current[i])
            s.append(1.0 if v[i] > neuron.theta else 0.0)
            past = [s[i]] + [trace.s[t - k][i] for k in range(1, neuron.tau_ref) if t - k >= 0]
            r.append(1 - math.prod(1 - spike for spike in past))
        trace.v.append(v)
        trace.s.append(s)
        trace.r.append(r)
    return trace


def adjoint(neuron: Neuron, trace: Trace, delta: list[list[float]]) -> list[list[float]]:
    """a_t = ∂L/∂v_t of one sample, where ``delta[t][i]`` stands for the explicit ∂L/∂s_t.

    s_t acts on the loss itself and, unless the reset is detached, through r_{t+k}, k < τ_ref, on v_{t+k+1}.
    """
    T, n = len(trace.v), len(trace.v[0])
    a = [[0.0] * n for _ in range(T + 1)]
    for t in reversed(range(T)):
        for i in range(n):
            dL_ds = delta[t][i]
            if not neuron.detach_reset:
                for k in range(neuron.tau_ref):
                    u = t + k  # s_t is a factor of r_u, which acts on v_{u+1}
                    if u + 1 < T:
                        others = [trace.s[u - m][i] for m in range(neuron.tau_ref) if u - m >= 0 and u - m != t]
                        dr_ds = math.prod(1 - spike for spike in others)
                        decayed = neuron.v_rest + neuron.g * (trace.v[u][i] - neuron.v_rest)
                        dL_ds += a[u + 1][i] * (neuron.v_reset - decayed) * dr_ds
            psi = 1.0 if abs(trace.v[t][i] - neuron.theta) < neuron.half_width else 0.0
            kept = neuron.g if neuron.reset == "subtract" else neuron.g * (1 - trace.r[t][i])
            a[t][i] = psi * dL_ds + kept * a[t + 1][i]
    return a[:T]


def weight_gradient(synapse: Synapse, x: list[list[float]], a: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    """∇W = Σ_t a_t x_tᵀ and ∇b = Σ_t a_t of one sample, over shared weights where there are any."""
    dw, db = np.zeros_like(synapse.weight), np.zeros_like(synapse.bias)
    for t in range(len(x)):
        for post, pre, w in synapse.wiring:
            dw[w] += a[t][post] * x[t][pre]
        for post, b in enumerate(synapse.bias_of):
            db[b] += a[t][post]
    return dw, db


def back_through(synapse: Synapse, a: list[list[float]], n_in: int) -> list[list[float]]:
    """∂L/∂x_t = Wᵀ a_t: what only backpropagation does."""
    out = [[0.0] * n_in for _ in a]
    for t in range(len(a)):
        for post, pre, w in synapse.wiring:
            out[t][pre] += synapse.weight[w] * a[t][post]
    return out


def signal(
    rule: str, y: list[float], rate: list[float], label: list[float], B: np.ndarray, kappa: float
) -> list[float]:
    """TP of one sample and one hidden layer: eqs. 5-7, and the reward prediction."""
    K = len(label)
    if rule == "BRP":
        return list(label)
    if rule == "ErrorProjection":
        return [y[k] - label[k] for k in range(K)]
    if rule == "SignProjection":
        return [float(y[k] > label[k]) - float(y[k] < label[k]) for k in range(K)]
    if rule == "RewardPrediction":
        norm = sum(math.sqrt(sum(b * b for b in B[k])) for k in range(K)) / K
        reading = [kappa * sum(B[k][i] * rate[i] for i in range(len(rate))) / norm**2 for k in range(K)]
        total = sum(math.exp(z) for z in reading)
        return [math.exp(reading[k]) / total - label[k] for k in range(K)]
    raise KeyError(rule)


def gradients(
    layers: list[tuple[Synapse, Neuron]],
    x: np.ndarray,
    labels: list[int],
    rule: str,
    feedback: list[np.ndarray],
    *,
    consolidation: str = "PseudoGradient",
    kappa: float = 5.0,
) -> list[tuple[np.ndarray, np.ndarray] | None]:
    """Gradients (∇W, ∇b) of every layer for a batch ``x`` ``[T, B, inputs]``, with the loss mean((y - onehot)²).

    Hidden layers: the sum over the batch of each sample's own gradient, as the equations have it; with
    "Backprop" the true gradient of the loss. The output layer learns from the loss. None: it does not learn.
    """
    T, batch = x.shape[:2]
    K = len(layers[-1][0].bias_of)
    total: list[tuple[np.ndarray, np.ndarray] | None] = [None] * len(layers)

    def add(layer: int, trace: Trace, a: list[list[float]]) -> None:
        dw, db = weight_gradient(layers[layer][0], trace.x, a)
        held = total[layer]
        total[layer] = (dw, db) if held is None else (held[0] + dw, held[1] + db)

    for b in range(batch):
        traces: list[Trace] = []
        spikes = x[:, b].tolist()
        for synapse, neuron in layers:
            traces.append(run(synapse, neuron, spikes))
            spikes = traces[-1].s
        label = [float(k == labels[b]) for k in range(K)]
        y = [sum(s[k] for s in spikes) / T for k in range(K)]

        dL_ds = [[2 * (y[k] - label[k]) / (batch * K * T) for k in range(K)] for _ in range(T)]
        a = adjoint(layers[-1][1], traces[-1], dL_ds)
        add(len(layers) - 1, traces[-1], a)

        for layer in reversed(range(len(layers) - 1)):
            neuron, trace, n = layers[layer][1], traces[layer], len(traces[layer].v[0])
            if rule == "OutputOnly":
                continue
            if rule == "Backprop":
                delta = back_through(layers[layer + 1][0], a, n)
            else:
                rate = [sum(s[i] for s in trace.s) / T for i in range(n)]
                tp = signal(rule, y, rate, label, feedback[layer], kappa)
                projected = [sum(tp[k] * feedback[layer][k][i] for k in range(K)) for i in range(n)]
                if consolidation == "rate":  # ½ Σ_i (rate_i - δ_i)²
                    delta = [[(rate[i] - projected[i]) / T for i in range(n)] for _ in range(T)]
                else:
                    delta = [projected] * T
            a = adjoint(neuron, trace, delta)
            add(layer, trace, a)
    return total
