"""Standardized weights against loops, in both executors, online, calibrated and exported."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from snntorch_brp import BRP, RefractoryLeaky, WSConv1d, WSConv2d, WSLinear, attach, calibrate, unroll
from snntorch_brp.fused import FusedEngine
from snntorch_brp.training import rate_mse

K = 3
LAYERS = [
    lambda: (WSLinear(6, 4), (6,)),
    lambda: (WSConv1d(3, 4, 2, padding=1, bias=False), (3, 5)),
    lambda: (WSConv2d(4, 6, 3, groups=2), (4, 5, 5)),
]


def neuron() -> RefractoryLeaky:
    return RefractoryLeaky(0.5, 0.3, init_hidden=True)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(WSConv2d(2, 6, 3), neuron(), nn.Flatten(), WSLinear(216, 8), neuron(), nn.Linear(8, K), neuron())
    ).double()


def spikes() -> torch.Tensor:
    return (torch.rand(5, 4, 2, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.3).double()


@pytest.mark.parametrize("make", LAYERS)
def test_each_filter_against_a_loop(make) -> None:
    torch.manual_seed(0)
    layer = make()[0].double()
    nn.init.uniform_(layer.gain)
    for W, gain, found in zip(layer.weight, layer.gain.tolist(), layer.standardized(), strict=True):
        w = W.flatten().tolist()
        mean = sum(w) / len(w)
        length = math.sqrt(sum((x - mean) ** 2 for x in w) + 1e-4)  # n σ² + ε
        assert found.flatten().tolist() == pytest.approx([gain * (x - mean) / length for x in w], rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("make", LAYERS)
def test_gradients_reach_weight_and_gain(make) -> None:
    torch.manual_seed(0)
    layer, shape = make()
    layer, x = layer.double(), torch.rand(2, *shape, dtype=torch.float64)

    def run(weight: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"weight": weight, "gain": gain}, (x,))

    assert torch.autograd.gradcheck(run, [layer.weight, layer.gain])


def test_a_filter_of_one_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="a filter of one weight has no variance"):
        WSConv2d(1, 3, 1)


@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_the_scale_and_mean_of_the_weights_do_not_count(scale: float) -> None:
    layer, x = WSLinear(50, 4).double(), torch.rand(3, 50, dtype=torch.float64)
    layer.weight.data *= 100  # so that ε is small beside the variance
    before = layer(x)
    layer.weight.data = scale * layer.weight.data + 1
    torch.testing.assert_close(layer(x), before, rtol=1e-6, atol=1e-6)


def test_both_executors_agree() -> None:
    net, x, labels = network(), spikes(), torch.tensor([0, 1, 2, 0])
    with attach(net, BRP(), num_classes=K) as handle:
        loss = rate_mse(unroll(net, x), labels)
        handle.backward(loss, labels)
    expected = {name: p.grad.clone() for name, p in net.named_parameters()}
    net.zero_grad()
    engine = FusedEngine(net, BRP(), num_classes=K, loss_fn=rate_mse, feedback=handle.feedback, chunk=3)
    assert "Autograd" not in " ".join(type(layer.synapse).__name__ for layer in engine.layers)
    engine.step(x, labels)
    for name, p in net.named_parameters():
        assert expected[name].any(), name
        # float64 sums in another order
        torch.testing.assert_close(p.grad, expected[name], rtol=1e-11, atol=1e-14, msg=name)


def test_one_step_online_gives_the_gradient_of_the_whole_sequence() -> None:
    """Of one step, in which traces are the inputs themselves."""
    net, x, labels = network(), spikes()[:1], torch.tensor([0, 1, 2, 0])
    with attach(net, BRP(), num_classes=K, generator=torch.Generator().manual_seed(2)) as handle:
        handle.backward(rate_mse(unroll(net, x), labels), labels)
    expected = {name: p.grad.clone() for name, p in net[:5].named_parameters()}
    net.zero_grad()
    with attach(net, BRP(), num_classes=K, credit="trace", feedback=handle.feedback) as online:
        online.teach(labels, steps=1)
        unroll(net, x)
    for name, p in net[:5].named_parameters():
        torch.testing.assert_close(p.grad, expected[name], rtol=1e-11, atol=1e-14, msg=name)


def test_calibration_turns_the_gain() -> None:
    net = network()
    weights = net[0].weight.clone(), net[3].weight.clone()
    rates = calibrate(net, spikes())
    assert all(0.05 < rate < 0.5 for rate in rates.values())
    assert torch.equal(net[0].weight, weights[0])
    assert torch.equal(net[3].weight, weights[1])


def test_nir_carries_the_standardized_weights() -> None:
    pytest.importorskip("nir", reason="nir is not installed: pip install 'snntorch-brp[nir]'")
    pytest.importorskip("nirtorch", reason="nirtorch is not installed: pip install 'snntorch-brp[nir]'")
    from snntorch_brp.nir import export_nir

    net = nn.Sequential(WSLinear(6, K), neuron())
    graph = export_nir(net, torch.zeros(1, 6))
    torch.testing.assert_close(torch.as_tensor(graph.nodes["0"].weight), net[0].standardized().detach())
    assert not torch.equal(net[0].weight, net[0].standardized())
