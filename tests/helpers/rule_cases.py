"""Small networks under rules with names, and their gradients beside those of plain loops."""

from __future__ import annotations

import numpy as np
import oracle
import rule_oracle as plain
import snntorch as snn
import torch
import torch.nn.functional as F
from networks import K, mse, run, spread
from torch import Tensor, nn

from snntorch_brp import attach, boxcar

NEURON = oracle.Neuron(0.75, 0.5, detach_reset=True, reset="subtract")
T, B = 6, 3
# Sums of a few hundred products of order 1 in float64, in another order: 1e-11 is some ten thousand roundings.
CLOSE = {"rtol": 0, "atol": 1e-11}


def lif(**options: object) -> snn.Leaky:
    return snn.Leaky(NEURON.g, NEURON.theta, spike_grad=boxcar(), init_hidden=True, **options)


def dense() -> nn.Sequential:
    return spread(nn.Sequential(nn.Linear(6, 8), lif(), nn.Linear(8, 7), lif(), nn.Linear(7, K), lif()).double())


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def learn(
    net: nn.Module, rule, x: Tensor, labels: Tensor, credit: str = "full", times: int = 1, **options
) -> dict[int, np.ndarray]:
    """B_l of each hidden layer, by its place in the network; the gradients are in the network."""
    settings = {"num_classes": K, "reduction": "sum", "generator": seeded()} | options
    with attach(net, rule, credit=credit, **settings) as handle:
        for _ in range(times):
            net.zero_grad()
            handle.reset()
            if credit == "full":
                spikes = run(net, x)
                handle.backward(mse(spikes, labels) if settings["num_classes"] == K else None, labels)
            else:
                handle.teach(labels, steps=len(x))
                run(net, x)
        found = {}
        for place, module in enumerate(net):
            if isinstance(module, snn.SpikingNeuron):
                shape = module.mem.shape[1:]
                found[place] = handle.feedback.matrix(str(place), shape).double().numpy()
    net.handle = handle  # for the tests that look at what a rule has learned
    return found


def weights_of(net: nn.Sequential) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(m.weight.detach().numpy(), m.bias.detach().numpy()) for m in net if isinstance(m, nn.Linear)]


def onehot(labels: Tensor) -> list[list[float]]:
    return F.one_hot(labels, K).double().tolist()


def check(net: nn.Sequential, expected: dict[int, np.ndarray]) -> None:
    """Gradients of the linear layers, by their place, against [N, inputs and bias]."""
    for place, gradient in expected.items():
        assert abs(gradient).max() > 0, "the case is not worth testing: nothing is learned"
        torch.testing.assert_close(net[place].weight.grad, torch.as_tensor(gradient[:, :-1]), **CLOSE)
        torch.testing.assert_close(net[place].bias.grad, torch.as_tensor(gradient[:, -1]), **CLOSE)


def summed(net: nn.Sequential, x: Tensor, sample, hidden: int = 2) -> dict[int, np.ndarray]:
    """The sum over samples of ``sample(b, layer, traces)`` for each hidden layer, by its linear layer's place."""
    expected: dict[int, np.ndarray] = {}
    for b in range(x.shape[1]):
        traces = plain.run_layers(weights_of(net), NEURON, x[:, b].numpy())
        for layer in range(hidden):
            expected[2 * layer] = expected.get(2 * layer, 0.0) + sample(b, layer, traces)
    return expected


def projected(matrix: np.ndarray, signal: list[float], i: int) -> float:
    return sum(matrix[k][i] * signal[k] for k in range(K))
