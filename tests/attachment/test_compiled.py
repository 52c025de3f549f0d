"""A network that torch.compile has compiled, under attach: one graph, compiled once, and gradients as without it."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable

import pytest
import snntorch as snn
import torch
from networks import K, Looped, batch, grads, mlp, mse, run, spread
from torch import Tensor, nn
from torch._dynamo.utils import counters

from snntorch_brp import BRP, AdaptiveLeaky, ErrorProjection, RewardPrediction, StateDifference, attach, reset_state
from snntorch_brp.attachment import Attached

RULES = {
    "BRP": (BRP(), None),
    "RewardPrediction": (RewardPrediction(), None),
    "ErrorProjection": (ErrorProjection(), None),
    "membranes": (BRP(), StateDifference()),
    "e-prop": ("e-prop", None),
}


class Stepped(nn.Module):
    """Explicit states, one step a call, handed over by whoever calls."""

    def __init__(self, neuron: type[nn.Module] = snn.Leaky, **options: object) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(6, 8), neuron(**options)
        self.fc2, self.lif2 = nn.Linear(8, K), neuron(**options)

    def forward(self, x: Tensor, states: tuple[object, ...]) -> tuple[Tensor, tuple[object, ...]]:
        first, last = states
        spikes, *first = self.lif1(self.fc1(x), *first)
        spikes, *last = self.lif2(self.fc2(spikes), *last)
        return spikes, (tuple(first), tuple(last))


def by_step(net: Stepped, call: Callable[..., object], x: Tensor) -> Tensor:
    def start(neuron: nn.Module) -> tuple[Tensor, ...]:
        state = neuron.reset_mem()  # type: ignore[operator]
        return state if isinstance(state, tuple) else (state,)

    states, spikes = (start(net.lif1), start(net.lif2)), []
    for x_t in x:
        s_t, states = call(x_t, states)  # type: ignore[misc]
        spikes.append(s_t)
    return torch.stack(spikes)


def by_state(net: nn.Module, call: Callable[..., object], x: Tensor) -> Tensor:
    reset_state(net)
    return run(call, x)  # type: ignore[arg-type]


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[..., Tensor], int]] = {
    "loops inside": (Looped, lambda net, call, x: call(x)[0], 1),
    "keeps its state": (lambda: mlp(hidden=(8, 7)), by_state, 2),
    "snn.Leaky by step": (lambda: Stepped(beta=0.9), by_step, 2),
    "AdaptiveLeaky, loops inside": (
        lambda: Looped(AdaptiveLeaky, adaptation=0.3, rho=0.9),
        lambda net, call, x: call(x)[0],
        1,
    ),
    "AdaptiveLeaky by step": (lambda: Stepped(AdaptiveLeaky, beta=0.9, adaptation=0.3, rho=0.9), by_step, 3),
    "snn.Synaptic by step": (lambda: Stepped(snn.Synaptic, alpha=0.8, beta=0.9), by_step, 2),
}


def learned(
    net: nn.Module, call: Callable[..., object], brp: Attached, sequence: Callable[..., Tensor]
) -> dict[str, Tensor]:
    x, labels = batch()
    net.zero_grad()
    brp.backward(mse(sequence(net, call, x), labels), labels)
    return grads(net)


@pytest.fixture(autouse=True)
def nothing_compiled():
    torch.compiler.reset()
    counters.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # how well a tiny network fires is not asked here
        yield


CASES = [*((network, "BRP") for network in NETWORKS), *(("keeps its state", rule) for rule in list(RULES)[1:])]


@pytest.mark.parametrize(("network", "rule"), CASES)
def test_one_graph_that_is_compiled_once_and_learns_the_same(network, rule):
    (make, sequence, graphs), (propagation, consolidation) = NETWORKS[network], RULES[rule]
    net = spread(make())
    options = {"num_classes": K, "consolidation": consolidation, "generator": torch.Generator().manual_seed(1)}
    with attach(net, propagation, **options) as brp:
        expected = learned(net, net, brp, sequence)
        # aot_eager makes the graphs of forward and backward that Inductor would compile
        compiled = torch.compile(net, backend="aot_eager" if rule == "BRP" else "eager", fullgraph=True)
        for _ in range(3):
            torch.testing.assert_close(learned(net, compiled, brp, sequence), expected, rtol=1e-5, atol=1e-7)
    assert len(expected) == len(list(net.parameters()))
    assert counters["stats"]["unique_graphs"] == graphs
    assert not counters["graph_break"]


def test_a_block_that_is_entered_anew_compiles_nothing_anew():
    net = spread(mlp())
    brp, compiled = attach(net, BRP(), num_classes=K), torch.compile(net, backend="eager")
    for block in range(4):
        with brp:
            learned(net, net if block == 0 else compiled, brp, by_state)
    assert counters["stats"]["unique_graphs"] == 2


def test_before_it_is_known_who_hears_whom_one_graph_is_refused_with_a_sentence():
    net = spread(Looped())
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    with attach(net, BRP(), num_classes=K), pytest.raises(RuntimeError, match="learn from one batch before"):
        compiled(batch()[0])


@pytest.mark.parametrize("network", ["keeps its state", "snn.Leaky by step"])
def test_sequences_that_nobody_learned_from_are_left_out(network):
    make, sequence, _ = NETWORKS[network]
    net, (x, _) = spread(make()), batch()
    with attach(net, BRP(), num_classes=K) as brp:
        expected = learned(net, net, brp, sequence)
        compiled = torch.compile(net, backend="eager", fullgraph=True)
        sequence(net, compiled, x)
        torch.testing.assert_close(learned(net, compiled, brp, sequence), expected)


def test_what_was_not_reset_is_told():
    net, (x, labels) = spread(mlp()), batch()
    with attach(net, BRP(), num_classes=K) as brp:
        learned(net, net, brp, by_state)
        compiled = torch.compile(net, backend="eager", fullgraph=True)
        learned(net, compiled, brp, by_state)
        with pytest.raises(RuntimeError, match="layer '1' was not reset since the last sequence"):
            brp.backward(mse(run(compiled, x), labels), labels)


def test_evaluation_between_leaves_no_trace():
    net, (x, _) = spread(mlp()), batch()
    with attach(net, BRP(), num_classes=K) as brp:
        expected = learned(net, net, brp, by_state)
        compiled = torch.compile(net, backend="eager", fullgraph=True)
        with torch.no_grad():
            by_state(net, compiled, x)
        torch.testing.assert_close(learned(net, compiled, brp, by_state), expected)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="Inductor needs a compiler")
def test_inductor_learns_the_same():
    net = spread(mlp())
    with attach(net, RewardPrediction(), num_classes=K) as brp:
        expected = learned(net, net, brp, by_state)
        compiled = torch.compile(net, fullgraph=True)
        for _ in range(2):
            torch.testing.assert_close(learned(net, compiled, brp, by_state), expected, rtol=1e-4, atol=1e-6)
    assert counters["stats"]["unique_graphs"] == 2
