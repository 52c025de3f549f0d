"""Counts against values worked out by hand, or by plain loops over neurons and synapses."""

from __future__ import annotations

import itertools
import math

import pytest
import snntorch as snn
import torch
import torch.nn.functional as F
from networks import K, Looped, batch, spread
from networks import mlp as tiny
from torch import Tensor, nn

from snntorch_brp import BRP, Backprop, BRPTrainer, ErrorProjection, OutputOnly, RateEncoder, RefractoryLeaky, unroll
from snntorch_brp.analysis import (
    ActivityMonitor,
    AlignmentMonitor,
    EnergyModel,
    analyse,
    gradient_angles,
    layer_gradients,
)
from snntorch_brp.analysis.alignment import angle
from snntorch_brp.analysis.counting import spikes_received
from snntorch_brp.models import mlp, network


def by_hand() -> tuple[nn.Sequential, Tensor]:
    """Two inputs, three hidden neurons (one fires at a spike, one never, one by its bias alone), one output."""
    net = nn.Sequential(
        nn.Linear(2, 3),
        RefractoryLeaky(0.0, 0.5, init_hidden=True),
        nn.Linear(3, 1),
        RefractoryLeaky(0.0, 0.5, init_hidden=True),
    )
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 1.0], [0.1, 0.1], [0.0, 0.0]]))
        net[0].bias.copy_(torch.tensor([0.0, 0.0, 1.0]))
        net[2].weight.fill_(0.4)  # fires where two hidden neurons do
        net[2].bias.zero_()
    x = torch.zeros(4, 2, 2)  # 4 steps, 2 samples; the second sample gets no spike
    x[0, 0, 0] = x[2, 0, 0] = x[2, 0, 1] = 1
    return net, x


def test_silence_rates_and_operations_of_a_network_worked_out_by_hand() -> None:
    net, x = by_hand()
    found = analyse(net, lambda: unroll(net, x))
    hidden, output = found.layers.values()
    assert (found.samples, found.steps, hidden.neurons) == (2, 4, 3)
    # sample 0: neuron 0 fires at steps 0 and 2, neuron 1 never, neuron 2 at all 4; sample 1: neuron 2 at all 4
    assert hidden.spikes.tolist() == [2, 0, 8]
    assert hidden.rates.tolist() == [2 / 8, 0, 1]
    assert hidden.rate == pytest.approx(10 / 24)
    assert hidden.never_fired_share == pytest.approx(3 / 6)
    assert hidden.unreached_share == pytest.approx(3 / 6)  # all of sample 1
    assert hidden.silent_share == pytest.approx(4 / 6)  # neuron 1 of sample 0, and all of sample 1
    assert output.spikes.tolist() == [2]
    assert output.unreached_share == 0  # neuron 2 fires in both samples
    first, second = found.synapses.values()
    assert (first.events, first.accumulates, first.multiplies) == (3, 9, 0)
    assert (second.events, second.accumulates) == (10, 10)
    assert first.dense == 4 * 2 * 6
    assert found.operations == 19 / 2
    assert found.conventional_operations == 6 + 3
    energy = found.energy(EnergyModel(accumulate=1, multiply_accumulate=10))
    assert energy.spiking == 19 / 2 + 10 * 4 * (3 + 1)  # each of 4 neurons leaks at each of 4 steps
    assert energy.conventional == 90
    assert "synaptic operations a sample" in str(found)


@pytest.mark.parametrize(
    "synapse",
    [
        nn.Conv2d(2, 4, 3, padding=1, stride=2),
        nn.Conv2d(2, 4, 3, groups=2, dilation=2),
        nn.Conv2d(2, 2, (1, 3), padding="same"),
        nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"),
    ],
    ids=str,
)
def test_a_convolution_is_counted_as_if_written_out(synapse: nn.Conv2d) -> None:
    """Move one spike at a time: the neurons whose value changes under positive weights are those it reaches."""
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(1, 2, 7, 7, generator=generator) < 0.3).float()
    with torch.no_grad():
        synapse.weight.fill_(1)
        synapse.bias.zero_()
        expected = torch.zeros(synapse(x).shape)
        for place in itertools.product(range(2), range(7), range(7)):
            one = torch.zeros_like(x)
            one[(0, *place)] = x[(0, *place)]
            expected += synapse(one).round()
    assert torch.equal(spikes_received(synapse, x), expected)


def test_one_dimension_and_silence_around_a_single_spike() -> None:
    net = network("Conv1x3x2-4", (1, 8))
    x = torch.zeros(3, 1, 1, 8)
    x[1, 0, 0, 0] = 1  # at the border: two of eight places in each of two channels are reached
    found = analyse(net, lambda: unroll(net, x))
    assert found.layers["conv1_lif"].unreached_share == pytest.approx(1 - 4 / 16)
    assert found.synapses["conv1"].accumulates == 4
    assert found.synapses["conv1"].dense == 3 * 2 * (6 * 3 + 2 * 2)


class PooledBefore(nn.Module):
    """Functional pooling between synapse and neuron, explicit state."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.lif1 = nn.Conv2d(1, 1, 1), snn.Leaky(0.5)
        self.fc, self.lif2 = nn.Linear(4, 2), snn.Leaky(0.5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2, out = self.lif1.init_leaky(), self.lif2.init_leaky(), []
        for x_t in x:
            spk1, mem1 = self.lif1(F.max_pool2d(self.conv(x_t), 2), mem1)
            spk2, mem2 = self.lif2(self.fc(spk1.flatten(1)), mem2)
            out.append(spk2)
        return torch.stack(out), mem2


def test_a_neuron_behind_pooling_is_reached_through_its_patch() -> None:
    net = PooledBefore()
    x = torch.zeros(2, 1, 1, 5, 5)  # 5 // 2 = 2: the last row and column are not pooled
    x[0, 0, 0, 0, 1] = x[1, 0, 0, 4, 4] = 1
    found = analyse(net, lambda: net(x))
    assert found.layers["lif1"].unreached_share == pytest.approx(3 / 4)


def test_graded_inputs_are_multiplied() -> None:
    net, x = by_hand()
    found = analyse(net, lambda: unroll(net, x * torch.tensor([0.5, 1.0])))
    first = found.synapses["0"]
    assert (first.multiplies, first.accumulates) == (6, 3)


def test_recurrent_synapses_belong_to_their_neuron() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.lif = nn.Linear(2, 3, bias=False), snn.RLeaky(0.5, linear_features=3, init_hidden=True)

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([self.lif(self.fc(x_t)) for x_t in x])

    net = Recurrent()
    with torch.no_grad():
        net.fc.weight.copy_(torch.tensor([[9.0, 9.0], [0.0, 0.0], [0.0, 0.0]]))
        net.lif.recurrent.weight.zero_()
        net.lif.recurrent.bias.zero_()
    x = torch.zeros(2, 1, 2)
    x[0, 0, 0] = 1
    found = analyse(net, lambda: net(x))
    assert found.synapses["lif.recurrent"].events == 1  # the spike of step 0, seen at step 1
    assert found.synapses["lif.recurrent"].accumulates == 3
    assert found.layers["lif"].unreached_share == 0


def test_statistics_of_batches_add_up_and_nothing_is_left_on_the_network() -> None:
    net, x = by_hand()
    whole = analyse(net, lambda: unroll(net, x))
    parts = [analyse(net, lambda i=i: unroll(net, x[:, i : i + 1])) for i in range(2)]
    both = parts[0] + parts[1]
    assert both.operations == whole.operations
    assert [layer.silent for layer in both.layers.values()] == [layer.silent for layer in whole.layers.values()]
    assert torch.equal(both.layers["1"].rates, whole.layers["1"].rates)
    assert not any(module._forward_hooks for module in net.modules())
    with pytest.raises(ValueError, match="3 steps"):
        whole + analyse(net, lambda: unroll(net, x[:3]))
    with pytest.raises(ValueError, match="no spiking layer ran"):
        analyse(net, lambda: None)


def test_whole_sequence_neurons() -> None:
    net = nn.Sequential(nn.Linear(6, 5), snn.LeakyParallel(5, 5), nn.Linear(5, 2), snn.LeakyParallel(2, 2))
    x, _ = batch(steps=7, size=3)
    found = analyse(net, lambda: net(x))
    assert (found.steps, found.samples, found.layers["1"].neurons) == (7, 3, 5)
    assert found.conventional_operations == 6 * 5 + 5 * 2


def test_angles() -> None:
    assert angle(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])) == pytest.approx(90)
    assert angle(torch.tensor([1.0, 2.0]), torch.tensor([-2.0, -4.0])) == pytest.approx(180)
    assert math.isnan(angle(torch.zeros(2), torch.ones(2)))


@pytest.mark.parametrize("loops", [False, True])
def test_alignment_with_the_gradients_that_training_would_have_used(loops: bool) -> None:
    net = spread(Looped(detach_reset=True) if loops else tiny(hidden=(8, 7)))
    x, labels = batch()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    true = layer_gradients(net, x, labels, Backprop(), num_classes=K)
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items() if "mem" not in name)
    # autograd on the very same network
    trainer = BRPTrainer(net, num_classes=K, propagation=Backprop(), optimizer=torch.optim.SGD(net.parameters(), 0.0))
    trainer.step(x, labels)
    for name, gradient in true.items():
        module = net.get_submodule(name)
        torch.testing.assert_close(gradient, torch.cat([p.grad.flatten() for p in module.parameters(recurse=False)]))
    first, second, output = true
    angles = gradient_angles(net, x, labels, ErrorProjection(), num_classes=K)
    assert angles[output] == pytest.approx(0, abs=1e-3)
    assert 0 < angles[first] < 180
    assert 0 < angles[second] < 180
    frozen = gradient_angles(net, x, labels, OutputOnly(), num_classes=K)
    assert math.isnan(frozen[first])


def test_monitors_change_nothing_about_training() -> None:
    results = []
    for watched in (False, True):
        torch.manual_seed(0)
        net = mlp([64, 20, 10])
        trainer = BRPTrainer(
            net,
            num_classes=10,
            encoder=RateEncoder(steps=4),
            optimizer=torch.optim.Adam(net.parameters(), 1e-2),
            generator=torch.Generator().manual_seed(1),
        )
        x, labels = torch.rand(30, 64), torch.arange(30) % 10
        activity = ActivityMonitor(x)
        alignment = AlignmentMonitor(x, labels, rules={"brp": BRP(), "backprop": Backprop()})
        monitors = [activity, alignment] if watched else []
        for monitor in monitors:
            monitor.measure(trainer, 0)
        results.append(trainer.fit([(x, labels)], epochs=3, callbacks=monitors, progress=False)[-1].loss)
    assert results[0] == results[1]
    assert [epoch for epoch, _ in activity.history] == [0, 1, 2, 3]
    assert {layer for _, found in activity.history for layer in found.layers} == {"fc1_lif", "fc2_lif"}
    for _, rule, angles in alignment.history:
        assert angles["fc2"] == pytest.approx(0, abs=1e-3)
        assert (angles["fc1"] < 1e-3) == (rule == "backprop")


def test_alignment_is_measured_with_the_trainers_own_output(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x, labels = mlp([64, 20, 10]), torch.rand(10, 64), torch.arange(10)
    trainer = BRPTrainer(net, num_classes=10, encoder=RateEncoder(steps=4), output="fc2_lif")
    asked: list[object] = []
    monkeypatch.setattr(
        "snntorch_brp.analysis.callbacks.gradient_angles", lambda *args, output, **rest: asked.append(output) or {}
    )
    AlignmentMonitor(x, labels).measure(trainer, 0)
    assert asked == [("fc2_lif",)]
