"""Every public path on a device that is not the CPU, with the CPU's own results as the reference.

Not collected by itself: test_placement.py runs it in a process of its own, since the chip is registered in all of it.
"""

from __future__ import annotations

import copy

import matplotlib as mpl
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from chip import CHIP, CPU, OnDevice, chip, waited
from networks import Looped, batch, spread
from sixteen_bits import with_rounded_products
from torch import nn

import snntorch_brp as brp
from snntorch_brp import plots
from snntorch_brp.analysis import ActivityMonitor, AlignmentMonitor
from snntorch_brp.data.device_events import ResidentEvents
from snntorch_brp.data.events import Frames
from snntorch_brp.fused import FusedEngine, layers
from snntorch_brp.runtime.verdicts import together
from snntorch_brp.training import rate_mse

pytestmark = pytest.mark.filterwarnings("ignore:layer:UserWarning")  # how well a tiny network fires is not asked here
mpl.use("agg")
RULES = [
    *(brp.BRP(), brp.BRP(label_rate=0.5, stepwise=True), brp.RewardPrediction(), brp.RewardPrediction(cosine=True)),
    *(brp.ErrorProjection(), brp.SignProjection(), brp.Backprop(), brp.OutputOnly()),
]
CONSOLIDATIONS = [
    *(brp.StateDifference(), brp.StateDifference(state="rate"), brp.Correlation(), brp.SimilarityMatching()),
    *(brp.STDP(), brp.DifferentialHebb()),
]
# Consolidations do not depend on the rule: one is enough.
CASES = [*((rule, None) for rule in RULES), *((brp.BRP(), consolidation) for consolidation in CONSOLIDATIONS)]
name = str


@pytest.fixture(autouse=True)
def device(monkeypatch):
    # parameters on the chip are a class of their own, which the fused engine would leave to attach
    monkeypatch.setattr(layers, "check_network", lambda net: None)
    with chip():
        yield


def values(x):
    """What is on the chip, nested or not, as CPU tensors; it fails where something is not there."""
    if isinstance(x, dict):
        return {key: values(value) for key, value in x.items()}
    if isinstance(x, (list, tuple)):
        return [values(value) for value in x]
    assert isinstance(x, OnDevice), f"{type(x).__name__} is on the CPU"
    return x.raw.detach()


def convolutional():
    torch.manual_seed(0)

    def neuron(**options):
        return brp.RefractoryLeaky(init_hidden=True, **options)

    return spread(
        nn.Sequential(
            *(nn.Conv2d(1, 4, 3), neuron(tau_ref=2), nn.AvgPool2d(2), nn.Flatten(), brp.Standardize(36)),
            *(nn.Linear(36, 8), neuron(v_rest=0.1, detach_reset=True), nn.Dropout(0.2), nn.Linear(8, 3), neuron()),
        )
    )


def images(steps=5):
    return batch(steps=steps, inputs=(1, 8, 8))


def both(run):
    """What ``run(device)`` gives on the CPU, and what it gives on the chip, brought to the CPU."""
    found = []
    for device in (CPU, CHIP):
        torch.manual_seed(1)
        found.append(run(device))
    return found[0], values(found[1])


def equal(expected, got, **tolerance):
    torch.testing.assert_close(got, expected, **{"rtol": 0, "atol": 0, **tolerance})


@pytest.mark.parametrize(
    "encoder",
    [
        brp.RateEncoder(steps=4),
        brp.DirectEncoder(steps=4),
        lambda x: brp.label_spikes(x.long().view(-1), 3, 4, rate=0.5),
    ],
)
def test_encoders(encoder):
    equal(*both(lambda device: encoder(torch.rand(3, 5).to(device))))


@pytest.mark.parametrize(("rule", "consolidation"), CASES, ids=name)
@pytest.mark.parametrize("make", [Looped, convolutional])
def test_attach(make, rule, consolidation):
    def gradients(device):
        net = spread(make()).to(device)
        x, labels = (part.to(device) for part in (batch() if make is Looped else images()))
        feedback = brp.Feedback(3, generator=torch.Generator().manual_seed(0))
        with brp.attach(net, rule, num_classes=3, consolidation=consolidation, feedback=feedback) as handle:
            spikes = net(x)[0] if make is Looped else brp.unroll(net, x)
            handle.backward(rate_mse(spikes, labels), labels)
        return [spikes, *(p.grad for p in net.parameters() if p.grad is not None)]

    equal(*both(gradients))


@pytest.mark.parametrize("credit", ["instant", "trace"])
@pytest.mark.parametrize("rule", RULES[:4], ids=name)
def test_online(credit, rule):
    def gradients(device):
        net = convolutional().to(device)
        x, labels = (part.to(device) for part in images())
        feedback = brp.Feedback(3, generator=torch.Generator().manual_seed(0))
        with brp.attach(net, rule, num_classes=3, credit=credit, feedback=feedback) as handle:
            handle.reset()
            handle.teach(labels, steps=len(x))
            spikes = [net(x_t) for x_t in x]
        return [*spikes, *(p.grad for p in net.parameters() if p.grad is not None)]

    equal(*both(gradients))


@pytest.mark.parametrize(("rule", "consolidation"), CASES, ids=name)
def test_fused(rule, consolidation):
    def gradients(device):
        net = convolutional().to(device)
        x, labels = (part.to(device) for part in images())
        feedback = brp.Feedback(3, generator=torch.Generator().manual_seed(0))
        engine = FusedEngine(net, rule, num_classes=3, loss_fn=rate_mse, consolidation=consolidation, feedback=feedback)
        loss, rate = engine.step(x, labels)
        return [loss, rate, engine.run(x), *(p.grad for p in net.parameters() if p.grad is not None)]

    # on the CPU the C++ kernels add in another order
    equal(*both(gradients), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rule", [brp.BRP(), brp.RewardPrediction(), brp.ErrorProjection()], ids=name)
def test_fused_in_bfloat16(rule):
    """Products of 16 bits and states of 32: what plain modules that round do, step by step, on the CPU."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), brp.RefractoryLeaky(init_hidden=True), nn.MaxPool2d(2), nn.Conv2d(4, 6, 2)]
    layers += [brp.RefractoryLeaky(init_hidden=True), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(6, 8)]
    layers += [brp.RefractoryLeaky(init_hidden=True), nn.Linear(8, 3), brp.RefractoryLeaky(init_hidden=True)]
    net, (x, labels) = spread(nn.Sequential(*layers)), images()
    rounding = with_rounded_products(copy.deepcopy(net))
    feedback = brp.Feedback(3, generator=torch.Generator().manual_seed(0))
    with brp.attach(rounding, rule, num_classes=3, feedback=feedback) as handle:
        spikes = brp.unroll(rounding, x).float()
        loss = rate_mse(spikes, labels)
        handle.backward(loss, labels)
    net, x, labels = net.to(CHIP), x.to(CHIP), labels.to(CHIP)
    options = {"num_classes": 3, "loss_fn": rate_mse, "feedback": feedback, "precision": "bfloat16"}
    engine = FusedEngine(net, rule, **options)
    assert torch.equal(values(engine.run(x)), spikes)
    equal(loss.detach(), values(engine.step(x, labels)[0]))
    for one, other in zip(rounding.parameters(), net.parameters(), strict=True):
        assert other.grad.dtype is torch.float32
        # each step's gradient is rounded to 8 bits and summed, or their sum is rounded
        equal(one.grad, values(other.grad), atol=2**-6 * float(one.grad.abs().max()))


def trained(device, folder=None, *, epochs=2, **options):
    """A trainer after some epochs, with all that may hang on to it."""
    torch.manual_seed(0)
    net = convolutional().to(device)
    pictures, labels = torch.rand(12, 1, 8, 8), torch.arange(12) % 3
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(pictures, labels), batch_size=5)
    trainer = brp.BRPTrainer(
        *(net,),
        **{"num_classes": 3, "encoder": brp.RateEncoder(steps=5), "engine": "attach", "clip_norm": 1.0, **options},
        optimizer=torch.optim.Adam(net.parameters(), 1e-3),
    )
    monitors = [ActivityMonitor(pictures[:4]), AlignmentMonitor(pictures[:4], labels[:4])]
    checkpoints = [] if folder is None else [brp.Checkpoints(folder)]
    if folder is not None:
        checkpoints[0].resume(trainer)
    results = trainer.fit(loader, epochs=epochs, validation=loader, callbacks=[*monitors, *checkpoints], progress=False)
    return trainer, results, monitors, (pictures, labels)


@pytest.mark.parametrize("engine", ["attach", "fused"])
@pytest.mark.parametrize("rule", [brp.BRP(), brp.RewardPrediction(), brp.ErrorProjection(), brp.Backprop()], ids=name)
def test_trainer(engine, rule):
    runs = {device: trained(device, engine=engine, propagation=rule) for device in (CPU, CHIP)}
    states = [{name: value for name, value in trainer.net.state_dict().items()} for trainer, *_ in runs.values()]
    tolerance = {} if engine == "attach" else {"rtol": 1e-3, "atol": 1e-4}  # Adam enlarges rounding
    equal(states[0], values(states[1]), **tolerance)
    for one, other in zip(runs[CPU][1], runs[CHIP][1], strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-4)
    (here, _, watched, data), (there, _, watched_there, _) = runs[CPU], runs[CHIP]
    if engine == "attach":  # where weights are equal to the last bit, so is all that is measured
        for (_, one), (_, other) in zip(watched[0].history, watched_there[0].history, strict=True):
            assert str(one) == str(other)
        for one, other in zip(watched[1].history, watched_there[1].history, strict=True):
            assert str(one) == str(other)
    assert there.evaluate([data]).loss == pytest.approx(here.evaluate([data]).loss, rel=1e-4)
    assert there.predict(data[0]).device == CHIP
    assert all(x.device == CHIP for x in there.attached.feedback.buffers() if x.dim())


def test_checkpoint_and_resume(tmp_path):
    whole, *_ = trained(CHIP, epochs=2)
    trained(CHIP, tmp_path / "run", epochs=1)
    resumed, *_ = trained(CHIP, tmp_path / "run", epochs=2)
    equal(values(dict(whole.net.state_dict())), values(dict(resumed.net.state_dict())))
    moments = [value for state in resumed.optimizer.state.values() for value in state.values() if value.dim()]
    assert moments
    assert all(value.device == CHIP for value in moments)


def test_where_a_network_starts():
    def start(device):
        net = convolutional().to(device)
        pictures = torch.rand(20, 1, 8, 8).to(device)
        brp.patch_filters(net[0], pictures, generator=torch.Generator().manual_seed(0))
        rates = brp.calibrate(net, brp.rate_encode(pictures, 5))
        return [*net.state_dict().values(), torch.tensor(list(rates.values()), device=device)]

    equal(*both(start))


def test_plots_draw_what_is_on_the_device():
    net, (x, labels) = convolutional().to(CHIP), images()
    x = x.to(CHIP)
    activity = brp.observe(net, lambda: brp.unroll(net, x))
    assert all(layer.spikes.device == layer.membrane.device == CHIP for layer in activity.values())
    plots.spike_raster(activity, inputs=x)
    plots.membrane_traces(next(iter(activity.values())), threshold=0.5)
    plots.confusion_matrix(torch.eye(3).long().to(CHIP))
    plots.confusion_matrix(brp.BRPTrainer(net, num_classes=3).evaluate([(x, labels)]).confusion)


def test_events_that_live_on_the_device():
    rng = np.random.default_rng(0)
    recordings = []
    for count in (30, 50):
        events = np.zeros(count, [("x", "i2"), ("y", "i2"), ("p", "i1"), ("t", "i8")])
        events["x"], events["y"], events["p"] = (rng.integers(0, most, count) for most in (8, 8, 2))
        events["t"] = np.sort(rng.integers(0, 10_000, count))
        recordings.append(events)
    frames = Frames(steps=4, sensor=(8, 8), size=(8, 8))

    def encoded(device):
        encode = ResidentEvents(recordings, frames, device=device)
        waited()
        spikes = encode(torch.tensor([1, 0, 1]).to(device))
        assert not waited()
        return spikes

    equal(*both(encoded))


def test_a_tensor_in_the_wrong_place_is_found():
    there = torch.ones(3, device=CHIP)
    with pytest.raises(RuntimeError, match="on the CPU"):
        there + torch.ones(3)
    with pytest.raises(RuntimeError, match="generator"):
        torch.rand(3, device=CHIP, generator=torch.Generator())
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()
    waited()
    assert F.relu(there).sum() > 0
    assert sum(waited().values()) == 1


def stepping(engine, rule, **options):
    """A training step, once the run is under way."""
    net = convolutional().to(CHIP)
    trainer = brp.BRPTrainer(net, num_classes=3, propagation=rule, engine=engine, **options)
    x, labels = (part.to(CHIP) for part in images())
    for _ in range(12):  # past the steps in which firing is looked at
        trainer.step(x, labels)
    waited()
    return trainer, x, labels


ONLY_WAIT = {"snntorch_brp/runtime/verdicts.py:_read": 1}
LEARNING = [brp.BRP(), brp.RewardPrediction(), brp.ErrorProjection(), brp.Backprop()]


@pytest.mark.parametrize("engine", ["attach", "fused"])
@pytest.mark.parametrize("rule", LEARNING, ids=name)
def test_the_host_waits_once_a_step(engine, rule):
    """For the loss, the right answers and all that could be wrong, before a weight changes."""
    trainer, x, labels = stepping(engine, rule, clip_norm=1.0)
    trainer.step(x, labels)
    assert waited() == ONLY_WAIT


@pytest.mark.parametrize("rule", LEARNING, ids=name)
def test_the_host_waits_once_in_a_loop_of_ones_own(rule):
    net, (x, labels) = convolutional().to(CHIP), (part.to(CHIP) for part in images())
    with brp.attach(net, rule, num_classes=3) as handle:
        handle.names_firing_faults = False  # which looks at the first sequences
        for _ in range(2):
            waited()
            spikes = brp.unroll(net, x)
            handle.backward(rate_mse(spikes, labels), labels)
        assert waited() == ONLY_WAIT


@pytest.mark.parametrize("rule", LEARNING, ids=name)
def test_a_fused_step_waits_for_nothing_until_it_is_asked(rule):
    """What happens between is fixed by shapes alone, as a CUDA graph wants it."""
    net, (x, labels) = convolutional().to(CHIP), (part.to(CHIP) for part in images())
    engine = FusedEngine(net, rule, num_classes=3, loss_fn=rate_mse)
    engine.step(x, labels)
    waited()
    with together():
        engine.step(x, labels)
        assert not waited()
    assert waited() == ONLY_WAIT


def spoiled(what, x, labels):
    """A batch, or a network, with one thing wrong."""
    if what == "input":
        x = x.clone()
        x[0, 0, 0, 0, 0] = torch.nan
    labels = labels.clone()
    if what == "labels":
        labels[0] = 7
    return x, labels


@pytest.mark.parametrize("engine", ["attach", "fused"])
@pytest.mark.parametrize(
    ("what", "message"), [("input", "x holds 1 values"), ("labels", r"0\.\.2.*got 0\.\.7|0\.\.2.*\.\.7")]
)
def test_what_is_asked_late_is_still_told_before_a_weight_changes(engine, what, message):
    trainer, x, labels = stepping(engine, brp.BRP())
    before = [p.detach().raw.clone() for p in trainer.net.parameters()]
    with pytest.raises(ValueError, match=message):
        trainer.step(*spoiled(what, x, labels))
    assert all(torch.equal(one, p.detach().raw) for one, p in zip(before, trainer.net.parameters(), strict=True))


@pytest.mark.parametrize("engine", ["attach", "fused"])
def test_a_weight_that_is_not_finite_is_told_in_the_next_step(engine):
    trainer, x, labels = stepping(engine, brp.BRP())
    trainer.net[0].bias.data[1] = torch.inf
    with pytest.raises(ValueError, match=r"the weight of '0\.bias' is not finite, in 1 of 4 places"):
        trainer.step(x, labels)
