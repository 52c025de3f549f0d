"""Every kind of neuron, reset and learned constant in the fused engine, to the last digits of attach in float64."""

from __future__ import annotations

import copy
from itertools import product

import pytest
import snntorch as snn
import torch
from torch import nn

from snntorch_brp import BRPTrainer
from snntorch_brp.consolidation import PseudoGradient, StateDifference
from snntorch_brp.fused import neuron_kernels
from snntorch_brp.fused.dynamics import dynamics_of
from snntorch_brp.neurons import RefractoryLeaky
from snntorch_brp.propagation import BRP, Backprop, ErrorProjection
from snntorch_brp.surrogate import boxcar

K, N = 4, 9
OWN = torch.linspace(0.1, 0.8, N, dtype=torch.float64)
pytestmark = pytest.mark.filterwarnings(
    "ignore:Inhibition is an unstable", "ignore:no hidden layer and no output reaches"
)


def neuron(kind, *, beta=0.7, threshold=0.4, **options):
    """A layer of neurons that keep their state, in float64."""
    options = {"spike_grad": boxcar(), "init_hidden": True, **options}
    beta, threshold = (torch.as_tensor(value, dtype=torch.float64) for value in (beta, threshold))
    if kind is snn.Lapicque:
        return snn.Lapicque(R=2.0, C=1.5, threshold=threshold, **options)
    if kind in (snn.Synaptic, snn.Alpha):
        return kind(torch.full_like(beta, 0.9), beta, threshold, **options)
    return kind(beta, threshold, **options)


def assert_same(make, *, rule=None, consolidation=None, B=6) -> list[torch.Tensor]:
    """Both engines agree on a network of two such layers; gives the gradients."""
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(7, B, 10, generator=generator) < 0.4).double()
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(10, N), make(), nn.Linear(N, N), make(), nn.Linear(N, K), neuron(snn.Leaky)).double()
    with torch.no_grad():
        for p in net[0].parameters():
            p *= 3
    results = []
    for engine in ("attach", "fused"):
        one = copy.deepcopy(net)
        trainer = BRPTrainer(
            one,
            num_classes=K,
            engine=engine,
            propagation=rule or BRP(),
            consolidation=consolidation,
            generator=torch.Generator().manual_seed(1),
        )
        loss, y = trainer.executor.learn(x, torch.arange(B) % K)
        results.append((loss, y, [torch.zeros_like(p) if p.grad is None else p.grad for p in one.parameters()]))
    torch.testing.assert_close(results[1], results[0], rtol=1e-10, atol=1e-13)
    return results[1][2]


@pytest.mark.parametrize("rule", [BRP(), ErrorProjection(), Backprop()])
@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("kind", [snn.Leaky, snn.Synaptic, snn.Alpha, snn.Lapicque])
def test_every_reset(kind, reset, rule):
    assert_same(lambda: neuron(kind, reset_mechanism=reset), rule=rule)


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("kind", [snn.Leaky, snn.Synaptic])
def test_resets_within_the_step(kind, reset):
    assert_same(lambda: neuron(kind, reset_mechanism=reset, reset_delay=False))
    assert_same(lambda: neuron(RefractoryLeaky, reset_delay=False))


def test_neurons_that_compete():
    assert_same(lambda: neuron(snn.Leaky, inhibition=True))


@pytest.mark.parametrize("consolidation", [PseudoGradient(), StateDifference()])
@pytest.mark.parametrize(("beta", "threshold"), [(0.7, 0.4), (OWN, 0.4), (0.7, OWN), (OWN, OWN), (1.2, -0.1)])
@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
def test_decays_and_thresholds_that_are_learned(reset, beta, threshold, consolidation):
    options = {"reset_mechanism": reset, "learn_beta": True, "learn_threshold": True}
    found = assert_same(
        lambda: neuron(snn.Leaky, beta=beta, threshold=threshold, **options), consolidation=consolidation
    )
    assert found[2].any() or not isinstance(consolidation, PseudoGradient)  # the threshold
    assert found[3].any() == (not isinstance(beta, float) or beta < 1)  # past its bound a decay has no gradient


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("tau_ref", [1, 2, 4, 9])
@pytest.mark.parametrize(("v_rest", "v_reset"), [(0.0, 0.0), (0.3, -0.2), (0.6, 0.1)])
@pytest.mark.parametrize("detach_reset", [True, False])
def test_what_a_refractory_neuron_learns(monkeypatch, kernels, tau_ref, v_rest, v_reset, detach_reset):
    if not kernels:
        monkeypatch.setattr(neuron_kernels, "library", lambda: None)
    potentials = {"tau_ref": tau_ref, "v_rest": v_rest, "v_reset": v_reset, "detach_reset": detach_reset}
    options = {"learn_beta": True, "learn_threshold": True, **potentials}
    found = assert_same(lambda: neuron(RefractoryLeaky, threshold=OWN, **options))
    assert found[2].any()
    assert found[3].any()


@pytest.mark.parametrize("learned", list(product([False, True], repeat=3))[1:])
@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_what_synaptic_neurons_learn(reset, learned):
    names = ("learn_alpha", "learn_beta", "learn_threshold")
    options = dict(zip(names, learned, strict=True))
    assert_same(lambda: neuron(snn.Synaptic, beta=OWN, reset_mechanism=reset, **options))
    options.pop("learn_alpha")  # which snnTorch's Alpha cannot
    assert_same(lambda: neuron(snn.Alpha, reset_mechanism=reset, **options))


def test_modules_keep_their_state():
    lif = neuron(snn.Synaptic)
    lif(torch.ones(2, N, dtype=torch.float64))
    before = lif.mem, lif.syn
    dynamics_of(lif, torch.ones(3, 2, N, dtype=torch.float64)).scan(torch.ones(3, 2, N, dtype=torch.float64))
    assert all(one is other for one, other in zip(before, (lif.mem, lif.syn), strict=True))
