"""Layers and neurons of one's own join the fused engine, each from one place."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import snntorch as snn
import torch
from torch import Tensor, nn

from snntorch_brp import BRPTrainer
from snntorch_brp.fused import (
    NotFusible,
    dynamics,
    plan,
    register_neuron,
    register_stateless,
    register_synapse,
    synapse,
)
from snntorch_brp.fused.synapse import Saved, Synapse, accumulate, batched, unbatched
from snntorch_brp.surrogate import boxcar


class Gain(nn.Module):
    """Each input times a weight of its own."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(features) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Half(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / 2


class GainSynapse(Synapse):
    def forward(self, x, request):
        z, (B, T) = batched(x)
        return unbatched(z * self.modules[-1].weight.detach(), B, T), Saved(z)

    def backward(self, a, saved):
        accumulate(self.modules[-1].weight, (batched(a)[0] * saved.source).sum(0))


class Integrate(snn.Leaky):
    """Sums up its input for ever and fires above threshold."""

    def forward(self, input_, mem=None):
        if self.mem.shape != input_.shape:
            self.mem = torch.zeros_like(input_)
        self.mem = self.mem + input_
        return self.spike_grad(self.mem - self.threshold)


@dataclass(frozen=True)
class Integration:
    threshold: Tensor

    def scan(self, current):
        return current.cumsum(0)

    def spikes(self, membrane):
        return (membrane > self.threshold).to(membrane.dtype)

    def adjoint(self, membrane, *, grad_spikes=None, grad_membrane=None):
        total = torch.zeros_like(membrane)
        if grad_spikes is not None:
            total = total + ((membrane - self.threshold).abs() < 0.5) * grad_spikes
        if grad_membrane is not None:
            total = total + grad_membrane
        return total.flip(0).cumsum(0).flip(0)


@pytest.fixture(autouse=True)
def registries(monkeypatch):
    """What a test registers is forgotten after it."""
    for owner, name in ((synapse, "_MAKERS"), (synapse, "_STATELESS"), (dynamics, "_KINDS")):
        monkeypatch.setattr(owner, name, dict(getattr(owner, name)))


def lif() -> nn.Module:
    return snn.Leaky(0.9, threshold=0.3, init_hidden=True, spike_grad=boxcar())


def assert_both_agree(make) -> None:
    x, labels = (torch.rand(6, 8, 10, generator=torch.Generator().manual_seed(0)) < 0.3).float(), torch.arange(8) % 4
    results = []
    for engine in ("attach", "fused"):
        torch.manual_seed(0)
        net = make()
        trainer = BRPTrainer(net, num_classes=4, engine=engine, generator=torch.Generator().manual_seed(1))
        loss, _ = trainer.executor.learn(x, labels)
        results.append((loss, [p.grad for p in net.parameters()]))
    assert all(gradient.any() for gradient in results[0][1])
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-6)


def test_a_layer_of_ones_own():
    def make():
        return nn.Sequential(Gain(10), lif(), nn.Linear(10, 4), lif())

    with pytest.raises(NotFusible, match="'0' is a Gain"):
        plan(make())
    register_synapse(Gain)(lambda modules, behind_neuron: GainSynapse(modules, behind_neuron=behind_neuron))
    assert isinstance(plan(make())[0].synapse, GainSynapse)
    assert_both_agree(make)


def test_a_layer_of_ones_own_by_autograd():
    register_synapse(Gain)(lambda modules, behind_neuron: None)
    assert_both_agree(lambda: nn.Sequential(Gain(10), lif(), nn.Linear(10, 4), lif()))


def test_a_module_without_state():
    def make():
        return nn.Sequential(nn.Linear(10, 9), lif(), Half(), nn.Linear(9, 4), lif())

    with pytest.raises(NotFusible, match="'2' is a Half"):
        plan(make())
    register_stateless(Half)
    assert_both_agree(make)


def test_a_neuron_of_ones_own():
    def make():
        neuron = Integrate(0.9, threshold=0.8, spike_grad=boxcar(), init_hidden=True)
        return nn.Sequential(nn.Linear(10, 9), neuron, nn.Linear(9, 4), lif())

    with pytest.raises(NotFusible, match="'1' is a Integrate"):
        plan(make())
    register_neuron(Integrate, lambda module, like: Integration(module.threshold.detach().to(like)))
    assert_both_agree(make)
