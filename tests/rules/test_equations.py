"""Every rule with a name against plain loops written from its paper's equations, in float64."""

from __future__ import annotations

import math

import numpy as np
import oracle
import pytest
import rule_oracle as plain
import snntorch as snn
import torch
from networks import K, batch, grads, spread
from rule_cases import CLOSE, NEURON, B, T, check, dense, learn, lif, onehot, projected, seeded, summed, weights_of
from torch import Tensor, nn

from snntorch_brp import RefractoryLeaky, boxcar, label_spikes, rules


@pytest.mark.parametrize("credit", ["full", "trace"])
@pytest.mark.parametrize("loss", ["mse", "smooth-l1"])
def test_decolle(credit: str, loss: str) -> None:
    net, (x, labels) = dense(), batch(steps=T, size=B, dtype=torch.float64)
    G = learn(net, rules.DECOLLE(loss=loss), x, labels, credit)
    target = onehot(labels)

    def sample(b: int, layer: int, traces: list[oracle.Trace]) -> np.ndarray:
        trace, matrix = traces[layer], G[2 * layer + 1]

        def error(t: int, i: int) -> float:
            total = 0.0
            for k in range(K):
                Y = sum(matrix[k][j] * trace.s[t][j] for j in range(len(trace.s[t])))
                wrong = Y - target[b][k]
                total += matrix[k][i] * (wrong if loss == "mse" else max(-1.0, min(1.0, wrong)))
            return total

        return plain.three_factor(NEURON, trace, error)

    check(net, summed(net, x, sample))


@pytest.mark.parametrize("credit", ["full", "trace"])
def test_etlp(credit: str) -> None:
    net, (x, labels) = dense(), batch(steps=T, size=B, dtype=torch.float64)
    matrices = learn(net, rules.ETLP(label_rate=0.5, generator=seeded(3)), x, labels, credit)
    teaching = label_spikes(labels, K, T, rate=0.5, generator=seeded(3), dtype=torch.float64).tolist()

    def sample(b: int, layer: int, traces: list[oracle.Trace]) -> np.ndarray:
        matrix = matrices[2 * layer + 1]
        return plain.three_factor(NEURON, traces[layer], lambda t, i: projected(matrix, teaching[t][b], i))

    check(net, summed(net, x, sample))


def test_osttp_is_real_time_recurrent_learning_of_each_layer() -> None:
    """Through a reset to zero, whose gradient the paper's neuron passes on."""
    neuron = oracle.Neuron(0.25, 0.5)
    layers = [nn.Linear(6, 8), nn.Linear(8, 7), nn.Linear(7, K)]
    net = nn.Sequential(*(m for linear in layers for m in (linear, RefractoryLeaky(0.25, 0.5, init_hidden=True))))
    spread(net.double())
    with torch.no_grad():
        for module in net:
            if isinstance(module, RefractoryLeaky):
                module.beta.fill_(0.25)
                module.threshold.fill_(0.5)
    x, labels = batch(steps=T, size=B, dtype=torch.float64)
    matrices = learn(net, rules.OSTTP(), x, labels)
    expected: dict[int, np.ndarray] = {}
    for b in range(B):
        traces = plain.run_layers(weights_of(net), neuron, x[:, b].numpy())
        for layer in (0, 1):
            matrix, label = matrices[2 * layer + 1], onehot(labels)[b]
            gradient, _ = plain.real_time(neuron, traces[layer], lambda t, i, m=matrix, y=label: projected(m, y, i))
            expected[2 * layer] = expected.get(2 * layer, 0.0) + gradient
    check(net, expected)


def recurrent_net() -> nn.Sequential:
    hidden = snn.RLeaky(NEURON.g, linear_features=7, threshold=NEURON.theta, spike_grad=boxcar(), init_hidden=True)
    net = nn.Sequential(nn.Linear(6, 7), hidden, nn.Linear(7, K), lif()).double()
    return spread(net)


def recurrent_traces(net: nn.Sequential, x: Tensor, b: int) -> tuple[oracle.Trace, oracle.Trace]:
    (weight, bias), out = weights_of(net)
    V, c = (p.detach().numpy() for p in (net[1].recurrent.weight, net[1].recurrent.bias))
    hidden = plain.run_recurrent(weight, bias, V, c, NEURON, x[:, b].tolist())
    return hidden, oracle.run(oracle.linear(*out), NEURON, hidden.s)


def test_osttp_in_a_recurrent_layer() -> None:
    net, (x, labels) = recurrent_net(), batch(steps=T, size=B, dtype=torch.float64)
    matrix = learn(net, rules.OSTTP(), x, labels)[1]
    V = net[1].recurrent.weight.detach().numpy()
    into, within = np.zeros((7, 7)), np.zeros((7, 7))
    for b in range(B):
        hidden, _ = recurrent_traces(net, x, b)
        label = onehot(labels)[b]
        dW, dV = plain.real_time(NEURON, hidden, lambda t, i, y=label: projected(matrix, y, i), V)
        into, within = into + dW, within + dV
    check(net, {0: into})
    torch.testing.assert_close(net[1].recurrent.weight.grad, torch.as_tensor(within), **CLOSE)


@pytest.mark.parametrize("credit", ["full", "trace"])
@pytest.mark.parametrize("feedback", ["random", "adaptive"])
def test_eprop(credit: str, feedback: str) -> None:
    net, (x, labels) = dense(), batch(steps=T, size=B, dtype=torch.float64)
    # An adaptive matrix must not move while the oracle's stands still: its own learning is tested below.
    matrices = learn(net, rules.EProp(feedback=feedback, learning_rate=0.0), x, labels, credit)
    target = onehot(labels)

    def sample(b: int, layer: int, traces: list[oracle.Trace]) -> np.ndarray:
        matrix, out = matrices[2 * layer + 1], traces[-1].s
        error = [[out[t][k] - target[b][k] for k in range(K)] for t in range(T)]
        return plain.three_factor(NEURON, traces[layer], lambda t, i: projected(matrix, error[t], i))

    check(net, summed(net, x, sample))


@pytest.mark.parametrize("kappa", [0.0, 0.6])
@pytest.mark.parametrize("feedback", ["random", "symmetric"])
def test_eprop_in_a_recurrent_layer(kappa: float, feedback: str) -> None:
    net, (x, labels) = recurrent_net(), batch(steps=T, size=B, dtype=torch.float64)
    matrix = learn(net, rules.EProp(feedback=feedback, kappa=kappa), x, labels)[1]
    check_recurrent_eprop(net, x, labels, matrix, kappa, feedback)


@pytest.mark.parametrize("feedback", ["random", "symmetric"])
def test_eprop_in_a_recurrent_layer_online(feedback: str) -> None:
    net, (x, labels) = recurrent_net(), batch(steps=T, size=B, dtype=torch.float64)
    matrix = learn(net, rules.EProp(feedback=feedback), x, labels, "trace")[1]
    check_recurrent_eprop(net, x, labels, matrix, 0.0, feedback)


def check_recurrent_eprop(
    net: nn.Sequential, x: Tensor, labels: Tensor, matrix: np.ndarray, kappa: float, feedback: str
) -> None:
    if feedback == "symmetric":
        matrix = net[2].weight.detach().numpy()
    target = onehot(labels)
    into, within = 0.0, 0.0
    for b in range(B):
        hidden, out = recurrent_traces(net, x, b)
        error = [[out.s[t][k] - target[b][k] for k in range(K)] for t in range(T)]

        def heard(t: int, i: int, error=error) -> float:
            return projected(matrix, error[t], i)

        into = into + plain.three_factor(NEURON, hidden, heard, kappa=kappa)
        own = oracle.Trace([[0.0] * 7, *hidden.s[:-1]], hidden.v, hidden.s)
        within = within + plain.three_factor(NEURON, own, heard, kappa=kappa)
    check(net, {0: into})
    torch.testing.assert_close(net[1].recurrent.weight.grad, torch.as_tensor(within[:, :-1]), **CLOSE)
    torch.testing.assert_close(net[1].recurrent.bias.grad, torch.as_tensor(within[:, -1]), **CLOSE)


def test_adaptive_feedback_learns_as_the_readout_does() -> None:
    """B ← (1 - decay) B - η mean_b Σ_t (y_k - y*_k) z_j."""
    net, (x, labels) = dense(), batch(steps=T, size=B, dtype=torch.float64)
    rule = rules.EProp(feedback="adaptive", learning_rate=0.1, decay=0.01)
    B_l = learn(net, rule, x, labels)[3]
    learned = net.handle.feedback.state_dict()["learned:3:feedback"].double().numpy()
    target = onehot(labels)
    expected = 0.99 * B_l
    for b in range(B):
        traces = plain.run_layers(weights_of(net), NEURON, x[:, b].numpy())
        for t in range(T):
            for k in range(K):
                for j in range(7):
                    error = traces[-1].s[t][k] - target[b][k]
                    expected[k, j] -= 0.1 / B * error * traces[1].s[t][j]
    np.testing.assert_allclose(learned, expected, **CLOSE)


@pytest.mark.parametrize("credit", ["full", "trace"])
def test_stllr(credit: str) -> None:
    net, (x, labels) = dense(), batch(steps=T, size=B, dtype=torch.float64)
    options = {"decay_pre": 0.6, "decay_post": 0.3, "causal_weight": 0.9, "anticausal_weight": -0.7, "delay": 2}
    matrices = learn(net, rules.STLLR(**options), x, labels, credit)
    check(net, summed(net, x, lambda *args: stllr_sample(*args, matrices=matrices, labels=labels)))


def stllr_sample(b: int, layer: int, traces: list[oracle.Trace], *, matrices, labels: Tensor) -> np.ndarray:
    out, target, matrix = traces[-1].s, onehot(labels)[b], matrices[2 * layer + 1]
    error = [[out[t][k] - target[k] for k in range(K)] for t in range(T)]
    constants = {"pre": 0.6, "post": 0.3, "causal": 0.9, "anticausal": -0.7, "delay": 2}
    return plain.timing(NEURON, traces[layer], lambda t, i: projected(matrix, error[t], i), **constants)


@pytest.mark.parametrize(
    "rule", [rules.OTTT(), rules.OSTL(), rules.STLLR(global_error=True)], ids=lambda r: r.facts.name
)
def test_rules_with_a_signal_that_is_global_in_space(rule: rules.LocalRule) -> None:
    net, (x, labels) = dense(), batch(steps=T, size=B, dtype=torch.float64)
    learn(net, rule, x, labels, "trace", times=2)
    matrices = [weight for weight, _ in weights_of(net)]

    def sample(b: int, layer: int, traces: list[oracle.Trace]) -> np.ndarray:
        delta = plain.in_space(matrices, NEURON, traces, onehot(labels)[b], 2 / (B * K * T))[layer]
        if isinstance(rule, rules.STLLR) and layer < 2:
            constants = {"pre": 0.75, "post": 0.2, "causal": 1.0, "anticausal": -1.0, "delay": 0}
            return plain.timing(NEURON, traces[layer], lambda t, i: delta[t][i], **constants)
        return plain.three_factor(NEURON, traces[layer], lambda t, i: delta[t][i])

    check(net, summed(net, x, sample, hidden=3))


def test_reward_modulated_stdp() -> None:
    net, (x, labels) = dense(), batch(steps=T, size=B, dtype=torch.float64)
    constants = {"decay_pre": 0.7, "decay_post": 0.6, "decay_trace": 0.9, "potentiation": 1.0, "depression": -0.8}
    learn(net, rules.RewardModulatedSTDP(**constants, baseline=0.0), x, labels)

    def sample(b: int, layer: int, traces: list[oracle.Trace]) -> np.ndarray:
        rate = [sum(s[k] for s in traces[-1].s) for k in range(K)]
        reward = 1.0 if max(range(K), key=lambda k: rate[k]) == labels[b] else -1.0
        return plain.rewarded_pairs(traces[layer], reward, plus=1.0, minus=-0.8, pre=0.7, post=0.6, left=0.9)

    check(net, summed(net, x, sample))


def test_the_reward_is_compared_with_its_running_mean() -> None:
    """In the second call r - r̄ = r - r/2; the mean is kept in float64, as the spikes are."""
    net, (x, labels) = dense(), batch(steps=T, size=1, dtype=torch.float64)
    learn(net, rules.RewardModulatedSTDP(baseline=0.0), x, labels)
    plainly = grads(net)["0.weight"]
    learn(net, rules.RewardModulatedSTDP(baseline=0.5), x, labels, times=2)
    assert plainly.abs().max() > 0
    torch.testing.assert_close(grads(net)["0.weight"], 0.5 * plainly, **CLOSE)
    assert net.handle.feedback.state_dict()["learned:1:mean reward"].abs() == 0.75  # of 1, after two calls


def test_forward_forward() -> None:
    net = spread(nn.Sequential(nn.Linear(6, 8), lif(), nn.Linear(8, 7), lif()).double())
    x, _ = batch(steps=T, size=B, dtype=torch.float64)
    positive = torch.tensor([1, 0, 1])
    learn(net, rules.SpikingForwardForward(threshold=0.1, sharpness=7.0), x, positive, num_classes=2)
    expected: dict[int, np.ndarray] = {}
    for b in range(B):
        traces = plain.run_layers(weights_of(net), NEURON, x[:, b].numpy())
        for layer, trace in enumerate(traces):
            n = len(trace.s[0])
            rate = [sum(s[i] for s in trace.s) / T for i in range(n)]
            y = 1.0 if positive[b] else -1.0
            goodness = sum(r * r for r in rate) / n
            slope = -7.0 * y / (1 + math.exp(7.0 * y * (goodness - 0.1)))
            delta = [[slope * 2 * rate[i] / n / T for i in range(n)] for _ in range(T)]
            a = oracle.adjoint(NEURON, trace, delta)
            dw, db = oracle.weight_gradient(oracle.linear(*weights_of(net)[layer]), trace.x, a)
            gradient = np.concatenate([dw.reshape(n, -1), db[:, None]], axis=1)
            expected[2 * layer] = expected.get(2 * layer, 0.0) + gradient
    check(net, expected)


@pytest.mark.parametrize(("rule", "name"), [("drtp", "BRP"), ("dfa", "ErrorProjection"), ("sdfa", "SignProjection")])
def test_random_projections(rule: str, name: str) -> None:
    net, (x, labels) = dense(), batch(steps=T, size=B, dtype=torch.float64)
    matrices = learn(net, rules.RULES[rule](), x, labels)
    layers = [(oracle.linear(*weights), NEURON) for weights in weights_of(net)]
    expected = oracle.gradients(layers, x.numpy(), labels.tolist(), name, [matrices[1], matrices[3]])
    for place, gradient in ((0, expected[0]), (2, expected[1])):
        assert gradient is not None
        torch.testing.assert_close(net[place].weight.grad.flatten(), torch.as_tensor(gradient[0]), **CLOSE)
        torch.testing.assert_close(net[place].bias.grad, torch.as_tensor(gradient[1]), **CLOSE)
