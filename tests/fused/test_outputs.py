"""What a loss may look at, spikes, membranes or a readout that does not spike: fused as attach gives it, in float64."""

from __future__ import annotations

import copy

import pytest
import snntorch as snn
import snntorch.functional as SF
import torch
import torch.nn.functional as F
from torch import nn

from snntorch_brp import BRPTrainer
from snntorch_brp.fused import NotFusible
from snntorch_brp.propagation import BRP, Backprop, ErrorProjection, RewardPrediction
from snntorch_brp.surrogate import boxcar

K, T, B = 4, 7, 6


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def lif(**options: object) -> nn.Module:
    return snn.Leaky(number(0.8), threshold=number(0.4), spike_grad=boxcar(), init_hidden=True, **options)


def both(net: nn.Module, **options: object) -> tuple[object, object]:
    """What attach and fused give for a batch: loss, predictions, gradients, and what they give without learning."""
    x = (torch.rand(T, B, 10, generator=torch.Generator().manual_seed(0)) < 0.4).double()
    results = []
    for engine in ("attach", "fused"):
        one = copy.deepcopy(net)
        generator = torch.Generator().manual_seed(1)
        trainer = BRPTrainer(one, num_classes=K, engine=engine, generator=generator, **options)
        loss, y = trainer.executor.learn(x, torch.arange(B) % K)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in one.parameters()]
        results.append((loss.double(), y, gradients, trainer.run(x)))
    return tuple(results)


def assert_same(net: nn.Module, **options: object) -> list[torch.Tensor]:
    expected, got = both(net, **options)
    # snnTorch's losses sum up in float32, some of them also where all else is float64
    assert got[0] == pytest.approx(float(expected[0]), rel=1e-6)
    torch.testing.assert_close(got[1:], expected[1:], rtol=1e-10, atol=1e-13)
    return got[2]


def network(last: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Linear(10, 12), lif(), nn.Linear(12, 9), lif(), nn.Linear(9, K), last]
    net = nn.Sequential(*layers)
    with torch.no_grad():
        net[0].weight *= 3
    return net.double()


MEMBRANE = [SF.ce_max_membrane_loss(), SF.ce_rate_loss(), SF.mse_membrane_loss(on_target=1.5, off_target=0.1)]
SPIKES = [SF.ce_rate_loss(), SF.ce_count_loss(), SF.mse_count_loss(correct_rate=0.8, incorrect_rate=0.2)]


@pytest.mark.parametrize("rule", [BRP(), RewardPrediction(), ErrorProjection(), Backprop()])
@pytest.mark.parametrize("loss", MEMBRANE)
def test_losses_of_snntorch_on_membranes(loss, rule):
    found = assert_same(network(lif(output=True)), loss=loss, loss_on="membranes", propagation=rule)
    assert all(gradient.any() for gradient in found)


@pytest.mark.parametrize("loss", SPIKES)
def test_losses_of_snntorch_on_spikes(loss):
    assert_same(network(lif(output=True)), loss=loss)


@pytest.mark.parametrize("reset", ["none", "zero"])
def test_a_leaky_readout(reset):
    readout = lif(output=True, reset_mechanism=reset, learn_beta=True)
    assert_same(network(readout), loss=SF.ce_max_membrane_loss(), loss_on="membranes")


def test_membranes_that_were_reset_within_the_step():
    assert_same(network(lif(output=True, reset_delay=False)), loss=SF.ce_rate_loss(), loss_on="membranes")


def test_membranes_of_a_synaptic_neuron():
    last = snn.Synaptic(number(0.6), number(0.8), number(0.4), spike_grad=boxcar(), init_hidden=True, output=True)
    assert_same(network(last), loss=SF.ce_rate_loss(), loss_on="membranes")


def readout(*modules: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(10, 12), lif(), *modules).double()


def ce(given: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(given.mean(0), labels)


@pytest.mark.parametrize("rule", [BRP(), RewardPrediction(), Backprop()])
def test_a_linear_readout(rule):
    found = assert_same(readout(nn.Linear(12, K)), loss=ce, propagation=rule)
    assert all(gradient.any() for gradient in found)
    assert_same(readout(nn.Linear(12, 9), lif(), nn.Dropout(0.0), nn.Linear(9, K)), loss=ce, propagation=rule)


def test_a_readout_that_a_rule_compares_is_named():
    net = readout(nn.Linear(12, 2 * K))  # a population code
    loss = lambda given, labels: ce(given.unflatten(2, (K, 2)).mean(3), labels)  # noqa: E731
    assert_same(net, loss=loss, propagation=ErrorProjection(), output="2")
    with pytest.raises(NotFusible, match="'2' does not spike, and is not named"):
        BRPTrainer(net, num_classes=K, engine="fused", propagation=ErrorProjection(), loss=loss)


def test_membranes_that_are_not_there():
    with pytest.raises(NotFusible, match="'5' gives no membranes"):
        BRPTrainer(network(lif()), num_classes=K, engine="fused", loss_on="membranes")
    for net in (network(lif()), readout(nn.Linear(12, K))):
        trainer = BRPTrainer(net, num_classes=K, loss_on="membranes")
        with pytest.raises(ValueError, match="make its last neuron with output=True"):
            trainer.step(torch.ones(T, B, 10, dtype=torch.float64), torch.arange(B) % K)
    with pytest.raises(ValueError, match="loss_on must be 'spikes' or 'membranes', got 'both'"):
        BRPTrainer(network(lif()), num_classes=K, loss_on="both")


def test_what_follows_the_output_without_weights_is_left_to_attach():
    with pytest.raises(NotFusible, match="AvgPool1d follows the last neuron '3'"):
        BRPTrainer(nn.Sequential(*network(lif())[:4], nn.AvgPool1d(3)), num_classes=3, engine="fused")


def test_prediction_and_evaluation_look_at_membranes():
    net = network(lif(output=True))
    trainer = BRPTrainer(net, num_classes=K, loss=SF.ce_rate_loss(), loss_on="membranes")
    x, labels = (torch.rand(T, B, 10) < 0.4).double(), torch.arange(B) % K
    assert torch.equal(trainer.predict(x), trainer.run(x).mean(0).argmax(1))
    right = float((trainer.predict(x) == labels).double().mean())
    assert trainer.evaluate([(x, labels)]).accuracy == pytest.approx(right)
    assert trainer.step(x, labels).correct == round(right * B)
