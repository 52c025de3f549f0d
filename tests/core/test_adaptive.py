"""The neuron with an adaptive threshold: what it does, what it keeps beside its membrane, and its eligibility trace."""

from __future__ import annotations

import copy
import pickle

import adaptive_oracle as plain
import numpy as np
import pytest
import snntorch as snn
import torch
from networks import K, batch, grads, spread
from rule_cases import learn
from torch import Tensor, nn

from snntorch_brp import BRP, AdaptiveLeaky, BRPTrainer, StateDifference, rules
from snntorch_brp.eligibility_trace import AdaptiveTrace, trace_of
from snntorch_brp.fused.dynamics import dynamics_of

NEURON = plain.Adaptive(0.75, 0.5, 0.25, 0.875)
T, B = 9, 3
# Sums of a few hundred products of order 1 in float64, in another order: 1e-11 is some ten thousand roundings.
CLOSE = {"rtol": 0, "atol": 1e-11}
SIGNALS = {"brp": BRP(), "brp, step by step": BRP(label_rate=0.5, stepwise=True), "etlp": rules.ETLP(label_rate=1.0)}


def lif(reset: str = "subtract", **options: object) -> AdaptiveLeaky:
    constants = {"adaptation": NEURON.beta_a, "rho": NEURON.rho, "init_hidden": True}
    return AdaptiveLeaky(NEURON.g, NEURON.theta, reset_mechanism=reset, **constants, **options)  # type: ignore[arg-type]


def dense(reset: str = "subtract", **options: object) -> nn.Sequential:
    layers = [nn.Linear(6, 8), lif(reset, **options), nn.Linear(8, 7), lif(reset), nn.Linear(7, K), lif(reset)]
    return spread(nn.Sequential(*layers).double())


def weights(net: nn.Sequential, place: int) -> tuple[np.ndarray, np.ndarray]:
    return net[place].weight.detach().numpy(), net[place].bias.detach().numpy()


def learned(net: nn.Module, rule, x: Tensor, labels: Tensor, credit: str) -> dict[str, Tensor]:
    learn(net, rule, x, labels, credit)
    return grads(net)


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
def test_what_it_does_is_what_plain_loops_do(reset: str) -> None:
    net, (x, _) = dense(reset), batch(steps=T, size=B, dtype=torch.float64)
    neuron = plain.Adaptive(NEURON.g, NEURON.theta, NEURON.beta_a, NEURON.rho, reset)
    steps = [(net[1](net[0](x_t)), net[1].mem, net[1].adapted_threshold) for x_t in x]
    for b in range(B):
        trace = plain.run(*weights(net, 0), neuron, x[:, b].tolist())
        for t, (spikes, membrane, threshold) in enumerate(steps):
            assert spikes[b].tolist() == trace.s[t]
            torch.testing.assert_close(membrane[b], torch.tensor(trace.v[t]).double(), rtol=0, atol=1e-6)
            above = torch.tensor(trace.above[t], dtype=torch.float64)
            torch.testing.assert_close((membrane - threshold)[b], above, **CLOSE)
    assert 0.05 < torch.stack([spikes for spikes, _, _ in steps]).mean() < 0.95


def test_without_adaptation_it_is_snntorchs_leaky() -> None:
    lifs = AdaptiveLeaky(0.75, 0.5, adaptation=0.0, init_hidden=True), snn.Leaky(0.75, 0.5, init_hidden=True)
    for current in torch.rand(20, 4, 5):
        assert torch.equal(*(lif(current) for lif in lifs))
        assert torch.equal(lifs[0].mem, lifs[1].mem)


@pytest.mark.parametrize("credit", ["full", "trace"])
@pytest.mark.parametrize("signal", SIGNALS)
def test_what_a_layer_learns_is_carried_forwards_in_plain_loops(credit: str, signal: str) -> None:
    """Full credit through the layer's own time and the eligibility trace are one sum, whichever way it is taken."""
    net, (x, labels) = dense(), batch(steps=T, size=B, dtype=torch.float64)
    torch.manual_seed(0)  # of the label spikes
    matrices = learn(net, SIGNALS[signal], x, labels, credit)
    found = grads(net)
    rule = SIGNALS[signal] if isinstance(SIGNALS[signal], BRP) else SIGNALS[signal].propagation
    torch.manual_seed(0)
    label = rule.label(labels, K, T, torch.float64).expand(T, B, K)
    for b in range(B):
        given = x[:, b].tolist()
        for place in (0, 2):
            sent = label[:, b] @ torch.as_tensor(matrices[place + 1])
            trace = plain.run(*weights(net, place), NEURON, given)
            gradient = torch.as_tensor(plain.gradient(NEURON, trace, lambda t, i, sent=sent: float(sent[t, i])))
            found[f"{place}.weight"] -= gradient[:, :-1]
            found[f"{place}.bias"] -= gradient[:, -1]
            assert gradient.abs().max() > 0.01
            given = trace.s
    for name in ("0.weight", "0.bias", "2.weight", "2.bias"):
        torch.testing.assert_close(found[name], torch.zeros_like(found[name]), **CLOSE)


@pytest.mark.parametrize("rule", [rules.DECOLLE(), rules.EProp(), rules.STLLR(), rules.ETLP(label_rate=1.0)], ids=str)
@pytest.mark.parametrize("reset", ["subtract", "none"])
def test_every_rule_learns_the_same_at_every_step_and_at_once(rule, reset: str) -> None:
    net, (x, labels) = dense(reset), batch(steps=T, size=B, dtype=torch.float64)
    at_once = learned(net, rule, x, labels, "full")
    stepwise = learned(net, rule, x, labels, "trace")
    for name in ("0.weight", "0.bias", "2.weight", "2.bias"):
        assert at_once[name].abs().max() > 1e-3
        torch.testing.assert_close(stepwise[name], at_once[name], **CLOSE)


def test_the_trace_is_exact_for_constants_of_each_neuron_too() -> None:
    own = {"adaptation": torch.linspace(0, 0.5, 8), "rho": torch.linspace(0.2, 1, 8)}
    net = nn.Sequential(nn.Linear(6, 8), AdaptiveLeaky(0.75, 0.5, **own, init_hidden=True), nn.Linear(8, K), lif())
    spread(net.double())
    x, labels = batch(steps=T, size=B, dtype=torch.float64)
    at_once, stepwise = (learned(net, BRP(), x, labels, credit) for credit in ("full", "trace"))
    for name in ("0.weight", "0.bias"):
        torch.testing.assert_close(stepwise[name], at_once[name], **CLOSE)


def test_forwards_and_backwards_are_one_trace() -> None:
    """Σ_t h_t e_t of random numbers, where ψ is no box."""
    generator = torch.Generator().manual_seed(0)
    x, h, psi = (torch.rand(7, 2, n, generator=generator, dtype=torch.float64) for n in (5, 3, 3))
    trace = AdaptiveTrace((torch.tensor(0.6),), torch.tensor(0.3), torch.tensor(0.9))
    states, forwards = None, torch.zeros(3, 5, dtype=torch.float64)
    for x_t, h_t, psi_t in zip(x, h, psi, strict=True):
        states = trace.step(x_t, states, lambda psi_t=psi_t: psi_t)
        forwards += (h_t.unsqueeze(-1) * states[0]).sum(0)
    backwards = torch.einsum("tbn,tbm->nm", trace.fold(h, lambda: psi), x)
    torch.testing.assert_close(forwards, backwards, rtol=1e-13, atol=0)


@pytest.mark.filterwarnings("ignore:no hidden layer and no output reaches")
@pytest.mark.parametrize("consolidation", [None, StateDifference(), rules.Eligibility()])
@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("learn", [{}, {"learn_beta": True, "learn_threshold": True}])
def test_the_fused_engine_does_the_same(reset: str, consolidation, learn: dict) -> None:
    x, labels = batch(steps=T, size=B, dtype=torch.float64)
    found = []
    for engine in ("attach", "fused"):
        net = dense(reset, **learn)
        options = {"engine": engine, "consolidation": consolidation, "generator": torch.Generator().manual_seed(1)}
        BRPTrainer(net, num_classes=K, propagation=BRP(), **options).executor.learn(x, labels)
        found.append(grads(net))
    assert found[0].keys() == found[1].keys()
    torch.testing.assert_close(found[1], found[0], **CLOSE)


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
def test_its_adjoint_is_autograds(reset: str) -> None:
    """Of random gradients on spikes and membranes, through the module step by step."""
    torch.manual_seed(0)
    current = torch.rand(T, B, 8, dtype=torch.float64).mul_(2).requires_grad_()
    on_spikes, on_membranes = torch.randn(2, T, B, 8, dtype=torch.float64)
    neuron = lif(reset, output=True).double()
    spikes, membranes = (torch.stack(steps) for steps in zip(*(neuron(I_t) for I_t in current), strict=True))
    torch.autograd.backward([spikes, membranes], [on_spikes, on_membranes])
    dynamics = dynamics_of(neuron, current)
    membrane = dynamics.scan(current.detach())
    assert torch.equal(dynamics.spikes(membrane), spikes)
    a = dynamics.adjoint(membrane, grad_spikes=on_spikes, grad_membrane=on_membranes)
    torch.testing.assert_close(a, current.grad, **CLOSE)


def test_the_adaptation_is_forgotten_with_the_membrane() -> None:
    neuron = lif()
    currents = torch.rand(12, 2, 4)
    first = [neuron(current) for current in currents]
    for forget in (neuron.reset_mem, lambda: setattr(neuron, "mem", torch.zeros(2, 4))):
        assert neuron.adapted_threshold.ne(NEURON.theta).any()
        forget()
        assert torch.equal(torch.stack([neuron(current) for current in currents]), torch.stack(first))


def test_a_copy_goes_on_as_the_original_does() -> None:
    neuron = lif()
    for current in torch.rand(5, 2, 4, requires_grad=True):
        neuron(current)
    copies = copy.deepcopy(neuron), pickle.loads(pickle.dumps(neuron))
    for current in torch.rand(5, 2, 4):
        expected = neuron(current)
        assert all(torch.equal(one(current), expected) for one in copies)


def test_state_detached_in_place_ends_the_graph() -> None:
    neuron, current = lif(), torch.full((1, 2), 0.6, requires_grad=True)
    neuron(current)
    neuron.mem.detach_()  # as snn.Leaky.detach_hidden() does
    neuron(torch.ones(1, 2, requires_grad=True)).sum().backward()
    assert current.grad is None


def test_a_trace_for_each_connection_is_refused_behind_a_convolution() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), lif(), nn.Flatten(), nn.Linear(8, K), lif()).double()
    x, labels = batch(steps=2, inputs=(1, 4, 4), dtype=torch.float64)
    with pytest.raises(ValueError, match=r"layer '1' has adaptive thresholds.*has Conv2d: use credit='full'"):
        learned(net, BRP(), x, labels, "trace")


@pytest.mark.parametrize(("name", "value"), [("adaptation", -0.1), ("rho", 1.5)])
def test_constants_out_of_range_are_told(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must"):
        AdaptiveLeaky(**{name: value})  # type: ignore[arg-type]
    assert isinstance(trace_of(AdaptiveLeaky()), AdaptiveTrace)
    assert "adaptation=0.18" in repr(AdaptiveLeaky())
