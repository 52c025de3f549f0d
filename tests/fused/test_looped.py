"""Networks with a forward of their own: the forms of snnTorch's tutorials run fused as under attach, others do not."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import snntorch as snn
import snntorch.functional as SF
import torch
import torch.nn.functional as F
from snntorch import surrogate
from torch import nn

from snntorch_brp import BRPTrainer
from snntorch_brp.fused import NotFusible, looped
from snntorch_brp.propagation import BRP, ErrorProjection
from snntorch_brp.surrogate import boxcar

num_steps, batch_size, K = 6, 8, 10


class Tutorial5(nn.Module):
    """Tutorial 5's network, smaller: an image at every step, states handed over, membranes returned."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(28 * 28, 100)
        self.lif1 = snn.Leaky(beta=0.95)
        self.fc2 = nn.Linear(100, K)
        self.lif2 = snn.Leaky(beta=0.95)

    def forward(self, x):
        mem1 = self.lif1.init_leaky()
        mem2 = self.lif2.init_leaky()
        spk2_rec = []
        mem2_rec = []
        for _ in range(num_steps):
            cur1 = self.fc1(x)
            spk1, mem1 = self.lif1(cur1, mem1)
            cur2 = self.fc2(spk1)
            spk2, mem2 = self.lif2(cur2, mem2)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return torch.stack(spk2_rec, dim=0), torch.stack(mem2_rec, dim=0)


class Tutorial6(nn.Module):
    """Tutorial 6's convolutional network, smaller: functions between modules, a batch size that is written down."""

    def __init__(self):
        super().__init__()
        grad = surrogate.fast_sigmoid(slope=25)
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.lif1 = snn.Leaky(beta=0.5, spike_grad=grad)
        self.conv2 = nn.Conv2d(6, 8, 5)
        self.lif2 = snn.Leaky(beta=0.5, spike_grad=grad)
        self.fc1 = nn.Linear(8 * 4 * 4, K)
        self.lif3 = snn.Leaky(beta=0.5, spike_grad=grad)

    def forward(self, x):
        mem1, mem2, mem3 = self.lif1.init_leaky(), self.lif2.init_leaky(), self.lif3.init_leaky()
        spk3_rec, mem3_rec = [], []
        for _ in range(num_steps):
            cur1 = F.max_pool2d(self.conv1(x), 2)
            spk1, mem1 = self.lif1(cur1, mem1)
            cur2 = F.max_pool2d(self.conv2(spk1), 2)
            spk2, mem2 = self.lif2(cur2, mem2)
            cur3 = self.fc1(spk2.view(batch_size, -1))
            spk3, mem3 = self.lif3(cur3, mem3)
            spk3_rec.append(spk3)
            mem3_rec.append(mem3)
        return torch.stack(spk3_rec), torch.stack(mem3_rec)


class Tutorial7(nn.Module):
    """Tutorial 7's network and its loop over frames of events in one module."""

    def __init__(self):
        super().__init__()
        lif = {"beta": 0.5, "spike_grad": surrogate.atan(), "init_hidden": True}
        self.net = nn.Sequential(
            nn.Conv2d(2, 6, 5),
            nn.MaxPool2d(2),
            snn.Leaky(**lif),
            nn.Conv2d(6, 8, 5),
            nn.MaxPool2d(2),
            snn.Leaky(**lif),
            nn.Flatten(),
            nn.Linear(8 * 5 * 5, K),
            snn.Leaky(**lif, output=True),
        )

    def forward(self, data):
        spk_rec = []
        for step in range(data.size(0)):  # data.size(0) = number of time steps
            spk_out, _mem_out = self.net(data[step])
            spk_rec.append(spk_out)
        return torch.stack(spk_rec)


class Quickstart(nn.Module):
    """The quickstart's dense network: a decay that is learned, one for each neuron, and a flattened image."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(28 * 28, 60)
        self.lif1 = snn.Leaky(beta=torch.linspace(0.3, 0.9, 60), learn_beta=True)
        self.fc2 = nn.Linear(60, K)
        self.lif2 = snn.Leaky(beta=0.5, learn_beta=True)

    def forward(self, x):
        mem1 = self.lif1.init_leaky()
        mem2 = self.lif2.init_leaky()
        spk2_rec, mem2_rec = [], []
        for _step in range(num_steps):
            cur1 = self.fc1(x.flatten(1))
            spk1, mem1 = self.lif1(cur1, mem1)
            cur2 = self.fc2(spk1)
            spk2, mem2 = self.lif2(cur2, mem2)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return torch.stack(spk2_rec, dim=0), torch.stack(mem2_rec, dim=0)


class Once(nn.Module):
    """The first current is computed once, the frames by iteration, states by name; a readout that does not spike."""

    def __init__(self, once=True):
        super().__init__()
        self.once = once
        self.first = nn.Sequential(nn.Linear(20, 30), nn.Identity())
        self.lif = snn.Synaptic(0.6, 0.8, spike_grad=boxcar())
        self.readout = nn.Linear(30, K)

    def forward(self, x):
        syn, mem = self.lif.init_synaptic()
        current = self.first(x) if self.once else None
        out = []
        for x_t in [None] * num_steps if self.once else x:
            spikes, syn, mem = self.lif(current if self.once else self.first(x_t), mem=mem, syn=syn)
            out.append(self.readout(spikes))
        return torch.stack(out)


class OneStep(nn.Module):
    """One step a call, states kept by the neurons."""

    def __init__(self):
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(20, 30), snn.Leaky(0.9, threshold=0.3, init_hidden=True)
        self.fc2, self.lif2 = nn.Linear(30, K), snn.Leaky(0.9, threshold=0.3, init_hidden=True, output=True)

    def forward(self, x):
        return self.lif2(self.fc2(self.lif1(self.fc1(x))))


CONFIG = {"time": {"steps": 2}}


class Configured(Tutorial5):
    """Steps from a global table and from an object of its own."""

    def __init__(self):
        super().__init__()
        self.settings = SimpleNamespace(gain=2)

    def forward(self, x):
        mem1, mem2, out = self.lif1.init_leaky(), self.lif2.init_leaky(), []
        for _ in range(CONFIG["time"]["steps"] + self.settings.gain):
            spk1, mem1 = self.lif1(self.fc1(x), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            out.append(spk2)
        return torch.stack(out)


def image(*shape: int) -> torch.Tensor:
    return torch.rand(batch_size, *shape, generator=torch.Generator().manual_seed(2))


def frames(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return (torch.rand(num_steps + 1, batch_size, *shape, generator=generator) < 0.3).float()


def assert_same(net: nn.Module, x: torch.Tensor, **options: object) -> None:
    labels, results = torch.arange(batch_size) % K, []
    for engine in ("attach", "fused"):
        one = copy.deepcopy(net)
        options = {"encoder": nn.Identity(), **options}
        trainer = BRPTrainer(one, num_classes=K, engine=engine, generator=torch.Generator().manual_seed(1), **options)
        for _ in range(2):
            loss, y = trainer.executor.learn(x, labels)
        results.append((loss, y, {name: p.grad for name, p in one.named_parameters()}, trainer.run(x)))
    assert all(gradient is not None and gradient.any() for gradient in results[0][2].values())
    # two passes of at most 1000 terms each in float32, in another order
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


def loud(net: nn.Module) -> nn.Module:
    """Weights large enough for all layers to fire."""
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.reset_parameters()
            with torch.no_grad():
                module.weight.mul_(4)
    return net


@pytest.mark.parametrize("rule", [BRP(), ErrorProjection()])
@pytest.mark.parametrize(
    ("make", "x"),
    [
        (Tutorial5, image(784)),
        (Tutorial6, image(1, 28, 28)),
        (Tutorial7, frames(2, 32, 32)),
        (Quickstart, image(1, 28, 28)),
    ],
)
def test_tutorials_as_they_are_written(make, x, rule):
    assert_same(loud(make()), x, propagation=rule, loss=SF.ce_count_loss())


@pytest.mark.parametrize(("make", "x"), [(Tutorial5, image(784)), (Tutorial6, image(1, 28, 28))])
def test_tutorials_with_a_loss_on_membranes(make, x):
    assert_same(loud(make()), x, loss=SF.ce_rate_loss(), loss_on="membranes")


@pytest.mark.parametrize("once", [True, False])
def test_a_current_that_is_computed_once_and_frames_one_by_one(once):
    loss = lambda given, labels: F.cross_entropy(given.mean(0), labels)  # noqa: E731
    assert_same(loud(Once(once)), image(20) if once else frames(20), loss=loss)


def test_one_step_a_call():
    for loss_on in ("spikes", "membranes"):
        assert_same(loud(OneStep()), frames(20), loops_inside=False, encoder=None, loss_on=loss_on)


def variant(change):
    """A network of two layers whose step is ``change(net, x, mem)``; it returns spikes and the first membrane."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.lif1 = nn.Linear(20, 20), snn.Leaky(0.9)
            self.fc2, self.lif2 = nn.Linear(20, K), snn.Leaky(0.9, init_hidden=True)
            self.drop, self.seen, self.odd = nn.Dropout(0.5), [], 0

        def forward(self, x):
            mem, out = self.lif1.init_leaky(), []
            for t in range(len(x)):
                spikes, mem = change(self, x, mem, t)
                out.append(spikes)
            return torch.stack(out)

    return Net()


def plain(net, x, mem, t):
    spikes, mem = net.lif1(net.fc1(x[t]), mem)
    return net.lif2(net.fc2(spikes)), mem


def sums(net, x, mem, t):
    spikes, mem = net.lif1(net.fc1(x[t]), mem)
    return net.lif2(net.fc2(spikes + x[t])), mem


def decides(net, x, mem, t):
    spikes, mem = net.lif1(net.fc1(x[t]), mem)
    return net.lif2(net.fc2(spikes if spikes.any() else x[t])), mem


def backwards(net, x, mem, t):
    return plain(net, x, mem, len(x) - 1 - t)


def leaks_by_hand(net, x, mem, t):
    spikes, mem = net.lif1(net.fc1(x[t]), mem)
    return net.lif2(net.fc2(spikes)), mem * 0.5


def detaches(net, x, mem, t):
    spikes, mem = net.lif1(net.fc1(x[t]), mem.detach())
    return net.lif2(net.fc2(spikes)), mem


def forgets(net, x, mem, t):
    spikes, _ = net.lif1(net.fc1(x[t]), net.lif1.init_leaky())
    return net.lif2(net.fc2(spikes)), mem


def remembers(net, x, mem, t):
    net.seen.append(t)
    return plain(net, x, mem, t)


def counts(net, x, mem, t):
    net.odd += 1
    return plain(net, x, mem, t)


def without_gradient(net, x, mem, t):
    with torch.no_grad():
        current = net.fc1(x[t])
    spikes, mem = net.lif1(current, mem)
    return net.lif2(net.fc2(spikes)), mem


def first_step_differs(net, x, mem, t):
    spikes, mem = net.lif1(net.fc1(x[t]), mem)
    return net.lif2(net.fc2(F.dropout(spikes, 0.0) if t == 0 else spikes)), mem


def drops_at_times(net, x, mem, t):
    spikes, mem = net.lif1(net.fc1(x[t]), mem)
    return net.lif2(net.fc2(net.drop(spikes) if t else spikes)), mem


def membrane_as_input(net, x, mem, t):
    _, mem = net.lif1(net.fc1(x[t]), mem)
    return net.lif2(net.fc2(mem)), mem


def twice(net, x, mem, t):
    spikes, mem = net.lif1(net.fc1(x[t]), mem)
    return net.lif2(net.fc2(net.fc1(spikes))), mem


def aside(net, x, mem, t):
    net.drop(x[t])
    return plain(net, x, mem, t)


def evaluates(net, x, mem, t):
    net.drop.eval()
    spikes, mem = net.lif1(net.drop(net.fc1(x[t])), mem)
    net.drop.train()
    return net.lif2(net.fc2(spikes)), mem


def hidden_output(net, x, mem, t):
    spikes, mem = net.lif1(net.fc1(x[t]), mem)
    net.lif2(net.fc2(spikes))
    return spikes, mem


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (sums, "calls torch.Tensor.add"),
        (decides, "calls torch.Tensor.any"),
        (backwards, "step by step"),
        (leaks_by_hand, "calls torch.Tensor.mul"),
        (detaches, "calls torch.Tensor.detach"),
        (forgets, "puts 'lif1' to rest between steps"),
        (remembers, "keeps something on its modules"),
        (counts, "keeps something on its modules"),
        (without_gradient, "switches gradients"),
        (first_step_differs, "calls torch.nn.functional.dropout"),
        (drops_at_times, "does not do the same at every step"),
        (membrane_as_input, "gives 'fc2' what does not come straight from neurons"),
        (twice, "calls 'fc1' 14 times in 7 steps"),
        (aside, "calls modules that do not lead to its output: drop"),
        (evaluates, "switches 'drop' between training and evaluation"),
        (hidden_output, "neurons that do not lead to its output: lif2"),
    ],
)
def test_what_is_not_exactly_understood_is_left_to_attach(change, message):
    net = variant(change)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(NotFusible, match=message):
        BRPTrainer(net, num_classes=K, engine="fused").executor.learn(frames(20), torch.arange(batch_size) % K)
    assert net.seen == []
    assert net.odd == 0
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)
    assert all(p.grad is None for p in net.parameters())


def test_a_plain_variant_runs():
    torch.manual_seed(0)
    assert_same(variant(plain), frames(20), encoder=None)


def test_the_reason_is_told_once_and_attach_runs(caplog):
    trainer = BRPTrainer(variant(sums), num_classes=K)
    with caplog.at_level("INFO", logger="snntorch_brp"):
        for _ in range(3):
            trainer.step(frames(20), torch.arange(batch_size) % K)
    said = [record.message for record in caplog.records if "fused engine" in record.message]
    assert len(said) == 1
    assert "in about the time and memory of backpropagation through time" in said[0]
    assert "its forward calls torch.Tensor.add, which is not known between its layers" in said[0]


def test_what_its_code_takes_from_outside_may_change(monkeypatch):
    net, x = loud(Tutorial5()), image(784)
    trainer = BRPTrainer(net, num_classes=K, engine="fused", encoder=nn.Identity())
    assert len(trainer.run(x)) == 6
    monkeypatch.setitem(globals(), "num_steps", 9)
    assert len(trainer.run(x)) == 9
    net.lif1.register_forward_hook(lambda *_: None)
    with pytest.raises(NotFusible, match="'lif1' carries hooks"):
        trainer.executor.learn(x, torch.arange(batch_size) % K)


def test_steps_from_a_table_and_an_object():
    x = image(784)
    trainer = BRPTrainer(Configured(), num_classes=K, engine="fused", encoder=nn.Identity())
    for steps in (2, 5):
        CONFIG["time"]["steps"] = steps
        trainer.net.settings.gain = steps
        assert len(trainer.run(x)) == 2 * steps


@pytest.mark.parametrize("make", [Tutorial5, Tutorial6, Quickstart, Configured])
def test_forward_is_read_once(make, monkeypatch):
    read, record = [], looped.record
    monkeypatch.setattr(looped, "record", lambda *args: read.append(1) or record(*args))
    x = image(1, 28, 28) if make in (Tutorial6, Quickstart) else image(784)
    trainer = BRPTrainer(make(), num_classes=K, engine="fused", encoder=nn.Identity())
    for _ in range(3):
        trainer.step(x, torch.arange(batch_size) % K)
    assert read == [1]


def test_frames_of_any_number():
    net = loud(Tutorial7())
    trainer = BRPTrainer(net, num_classes=K, engine="fused")
    for steps in (3, 5, 3):
        x = frames(2, 32, 32)[:steps]
        trainer.step(x, torch.arange(batch_size) % K)
        assert trainer.executor.steps == steps
        assert trainer.run(x).shape == (steps, batch_size, K)


def test_training_and_evaluation_take_turns():
    found = []
    for engine in ("attach", "fused"):
        trainer = BRPTrainer(
            loud(Tutorial5()),
            num_classes=K,
            encoder=nn.Identity(),
            engine=engine,
            loss=SF.ce_count_loss(),
            generator=torch.Generator().manual_seed(1),
        )
        batches = [(image(784), torch.arange(batch_size) % K)] * 2
        results = trainer.fit(batches, epochs=2, validation=batches, progress=False)
        found.append([result.loss for result in results])
    assert found[0] == pytest.approx(found[1], rel=1e-4)
