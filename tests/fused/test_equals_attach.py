"""Whatever somebody does to a network: the fused engine gives what attach gives, or leaves it to attach."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import snntorch as snn
import torch
from snntorch import surrogate
from torch import nn

from snntorch_brp import BRPTrainer
from snntorch_brp.consolidation import Consolidation, Gradients
from snntorch_brp.fused import FusedEngine, NotFusible
from snntorch_brp.models import mlp
from snntorch_brp.propagation import BRP, Propagation
from snntorch_brp.standardize import Standardize
from snntorch_brp.training import rate_mse

K = 5


def lif(**kw: object) -> nn.Module:
    return snn.Leaky(0.9, threshold=0.3, init_hidden=True, **kw)


def dense(**kw: object) -> nn.Sequential:
    return nn.Sequential(nn.Linear(20, 30), lif(**kw), nn.Linear(30, K), lif(**kw))


def outcome(net: nn.Module, x: torch.Tensor, engine: str, **options: object) -> object:
    """Loss and gradients of a step, or the error."""
    labels = torch.arange(x.shape[1]) % K
    try:
        trainer = BRPTrainer(net, num_classes=K, engine=engine, generator=torch.Generator().manual_seed(1), **options)
        loss, _ = trainer.executor.learn(x, labels)
    except (ValueError, RuntimeError) as error:
        return str(error)
    return float(loss), [None if p.grad is None else p.grad.clone() for p in net.parameters()]


def assert_same(
    make: Callable[[], nn.Module],
    x: torch.Tensor,
    *,
    prepare: Callable[[nn.Module], object] = lambda net: None,
    **options: object,
) -> object:
    """Both engines agree, also in what batch norms have seen; gives the outcome."""
    torch.manual_seed(0)
    net = make()
    own = [copy.deepcopy(net) for _ in range(2)]
    kept = [prepare(one) for one in own]
    expected, got = (outcome(one, x, engine, **options) for one, engine in zip(own, ("attach", "auto"), strict=True))
    del kept
    assert isinstance(expected, str) == isinstance(got, str), (expected, got)
    if isinstance(expected, tuple):
        assert got[0] == pytest.approx(expected[0], rel=1e-5)
        torch.testing.assert_close(got[1], expected[1], rtol=1e-4, atol=1e-5)
        for (name, one), (_, other) in zip(own[0].named_buffers(), own[1].named_buffers(), strict=True):
            if "running" in name or "batches" in name:
                torch.testing.assert_close(other, one)
    return expected


def spikes(*shape: int) -> torch.Tensor:
    return (torch.rand(10, 8, *shape, generator=torch.Generator().manual_seed(2)) < 0.3).float()


class Ternary(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u):
        ctx.save_for_backward(u)
        return (u > 0).float() - (u < -1).float()

    @staticmethod
    def backward(ctx, g):
        return g * (ctx.saved_tensors[0].abs() < 0.5)


class Mixing(torch.autograd.Function):
    """Spikes as they should be; the gradient of one neuron depends on the others."""

    @staticmethod
    def forward(ctx, u):
        return (u > 0).float()

    @staticmethod
    def backward(ctx, g):
        return g - g.mean()


@pytest.mark.parametrize(
    "spike_grad",
    [
        Ternary.apply,
        lambda u: torch.sigmoid(5 * u),
        lambda u: 2 * surrogate.atan()(u),
        Mixing.apply,
        lambda u: (u >= 0).float() + 0 * u,
        surrogate.LSO(),
    ],
)
def test_spike_functions_of_ones_own_are_left_to_attach(spike_grad):
    assert_same(lambda: dense(spike_grad=spike_grad), spikes(20))


@pytest.mark.parametrize(
    "spike_grad",
    [
        surrogate.atan(),
        surrogate.atan(alpha=0.7),
        surrogate.fast_sigmoid(),
        surrogate.fast_sigmoid(slope=3),
        surrogate.sigmoid(slope=5),
        surrogate.straight_through_estimator(),
        surrogate.triangular(),
        surrogate.triangular(0.4),
        surrogate.heaviside(),
        surrogate.SFS(slope=2, B=0.1),
        surrogate.custom_surrogate(lambda u, g, s: g / (1 + u.abs())),
    ],
)
def test_every_surrogate_of_snntorch_runs_fused(spike_grad):
    assert isinstance(assert_same(lambda: dense(spike_grad=spike_grad), spikes(20)), tuple)
    FusedEngine(dense(spike_grad=spike_grad), BRP(), num_classes=K, loss_fn=rate_mse)


def test_a_sigmoid_does_not_overflow_far_below_the_threshold():
    net = dense(spike_grad=surrogate.sigmoid())
    with torch.no_grad():
        net[0].bias -= 9
    FusedEngine(net, BRP(), num_classes=K, loss_fn=rate_mse).step(spikes(20), torch.arange(8) % K)
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def normed(norm: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(20, 30), lif(), norm, nn.Linear(30, K), lif())


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm1d(30),
        nn.BatchNorm1d(30, affine=False),
        nn.BatchNorm1d(30, momentum=None),
        nn.BatchNorm1d(30, track_running_stats=False),
        nn.BatchNorm1d(30, affine=False, track_running_stats=False),
        Standardize(30),
        nn.Dropout(0.0),
        nn.AvgPool1d(1),
    ],
)
def test_modules_between_neurons(norm):
    assert isinstance(assert_same(normed(norm), spikes(20)), tuple)


def test_a_standardize_on_the_channels_is_not_folded_into_a_linear_on_the_length():
    norm = Standardize(8)
    norm.mean.copy_(torch.arange(8.0) / 8)
    norm.scale.copy_(torch.arange(8.0) + 1)
    layers = [nn.Conv1d(3, 8, 3, padding=1), lif(), norm, nn.Linear(8, 6), lif(), nn.Flatten(), nn.Linear(48, K), lif()]
    assert isinstance(assert_same(lambda: nn.Sequential(*layers), spikes(3, 8)), tuple)


def conv(pool: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), lif(), pool, nn.Flatten(), nn.Linear(8 * 16, K), lif())


@pytest.mark.parametrize(
    "pool", [nn.AvgPool2d((2,)), nn.AvgPool2d([2, 2]), nn.AvgPool2d([2]), nn.MaxPool2d([2, 2]), nn.AdaptiveAvgPool2d(4)]
)
def test_pools_in_every_spelling(pool):
    assert_same(conv(pool), spikes(3, 8, 8))


def test_an_average_over_a_vector():
    make = lambda: nn.Sequential(nn.Linear(20, 64), lif(), nn.AvgPool1d(2), nn.Linear(32, K), lif())  # noqa: E731
    assert isinstance(assert_same(make, spikes(20)), tuple)


@pytest.mark.parametrize(
    "where",
    [
        "weight",
        "accumulated",
        "global",
        "forward",
        "state",
        "parametrization",
        "frozen",
        "output frozen",
        "double",
        "tied",
    ],
)
def test_whatever_is_done_to_a_network(where):
    def prepare(net):
        if where == "weight":
            net[0].weight.register_hook(lambda g: 0 * g)
        elif where == "accumulated":
            net[0].weight.register_post_accumulate_grad_hook(lambda p: p.grad.zero_())
        elif where == "global":
            return nn.modules.module.register_module_forward_hook(
                lambda module, args, out: 2 * out if module is net[0] else None
            )
        elif where == "forward":
            net[0].forward = lambda x, layer=net[0]: 3 * nn.functional.linear(x, layer.weight, layer.bias)
        elif where == "state":
            net[1].state_function = lambda current, neuron=net[1]: 0.5 * neuron.mem + current
        elif where == "parametrization":
            nn.utils.parametrizations.weight_norm(net[0])
        elif where == "frozen":
            net.requires_grad_(False)
        elif where == "output frozen":
            net[2].requires_grad_(False)
        elif where == "double":
            net[0].double()
        elif where == "tied":
            net[2].bias = net[3].register_parameter("bias", net[2].bias)
        return None

    if where == "tied":
        net = nn.Sequential(nn.Linear(20, 20), lif(), nn.Linear(20, 20), lif(), nn.Linear(20, K), lif())
        net[2].weight = net[0].weight
        assert_same(lambda: net, spikes(20))
        return
    handles = []
    torch.manual_seed(0)
    base, results = dense(), []
    for engine in ("attach", "auto"):
        net = copy.deepcopy(base)
        handle = prepare(net)
        handles.append(handle)
        x = spikes(20).double() if where == "double" else spikes(20)
        results.append(outcome(net, x, engine))
        if handle is not None:
            handle.remove()
    expected, got = results
    assert isinstance(expected, str) == isinstance(got, str), results
    if isinstance(expected, tuple):
        assert got[0] == pytest.approx(expected[0], rel=1e-5)
        torch.testing.assert_close(got[1], expected[1], rtol=1e-4, atol=1e-5)


class Centred(Propagation):
    """The label minus its mean over the batch."""

    def signal(self, label, *, window, feedback, output):
        return label - label.mean(1, keepdim=True)


class CentredBRP(BRP):
    def signal(self, label, *, window, feedback, output):
        return label - label.mean(1, keepdim=True)


class Competing(Consolidation):
    """The sample that fires most learns most."""

    def gradients(self, delta, window):
        return Gradients(spikes=delta * window.rate / window.rate.max())


@pytest.mark.parametrize(
    "options", [{"propagation": Centred()}, {"propagation": CentredBRP()}, {"consolidation": Competing()}]
)
def test_rules_of_ones_own_get_the_whole_batch_unless_they_say_otherwise(options, monkeypatch):
    monkeypatch.setattr("snntorch_brp.fused.engine.LARGE_CHUNK_BYTES", 1)  # one sample at a time, where allowed
    assert isinstance(assert_same(dense, spikes(20), **options), tuple)


def test_who_compares_samples():
    class PerSample(Propagation):
        compares_samples = False

        def signal(self, label, *, window, feedback, output):
            return label

    assert not PerSample.compares_samples
    assert Centred.compares_samples
    assert CentredBRP.compares_samples
    assert not BRP.compares_samples
    assert Competing.compares_samples


@pytest.mark.parametrize(
    "loss",
    [
        lambda s, y: s.mean(0),
        lambda s, y: torch.tensor(1.0),
        lambda s, y: 3.0,
    ],
)
def test_losses_that_are_none_are_refused_by_both(loss):
    for engine in ("attach", "auto"):
        trainer = BRPTrainer(mlp([20, 30, K]), num_classes=K, engine=engine, loss=loss)
        with pytest.raises((ValueError, RuntimeError), match="loss"):
            trainer.step(spikes(20), torch.arange(8) % K)


def test_a_loss_with_weights_of_its_own_trains_them_too():
    found = []
    for engine in ("attach", "auto"):
        weight = nn.Parameter(torch.ones(K))
        torch.manual_seed(0)
        outcome(dense(), spikes(20), engine, loss=lambda s, y, weight=weight: (weight * rate_mse(s, y)).mean())
        found.append(weight.grad)
    torch.testing.assert_close(found[1], found[0])


def test_a_loss_on_the_output_weights_is_left_to_attach():
    found = []
    for engine in ("attach", "auto"):
        torch.manual_seed(0)
        net = dense()
        found.append(
            outcome(net, spikes(20), engine, loss=lambda s, y, net=net: rate_mse(s, y) + net[2].weight.square().mean())
        )
    assert found[0][0] == pytest.approx(found[1][0])
    torch.testing.assert_close(found[1][1], found[0][1])


def test_modules_put_in_and_taken_out_after_the_first_step():
    torch.manual_seed(0)
    x, labels = spikes(20), torch.arange(8) % K
    trainer = BRPTrainer(dense(), num_classes=K)
    trainer.step(x, labels)
    trainer.net.insert(2, nn.Linear(30, 30))
    trainer.net.insert(3, lif())
    trainer.step(x, labels)
    assert trainer.net[2].weight.grad is not None
    trainer.net[4] = nn.Linear(30, 7)
    with pytest.raises(ValueError, match="K=5"):
        trainer.step(x, labels)


def test_another_surrogate_after_the_first_step():
    torch.manual_seed(0)
    x, labels = spikes(20), torch.arange(8) % K
    engine = FusedEngine(dense(), BRP(), num_classes=K, loss_fn=rate_mse)
    engine.step(x, labels)
    engine.net[1].spike_grad = Ternary.apply
    with pytest.raises(NotFusible, match="'1' has a spike_grad whose spikes are not"):
        engine.step(x, labels)


def test_outer_autocast_changes_nothing():
    torch.manual_seed(0)
    base, results = dense(), []
    for outer in (False, True):
        net = copy.deepcopy(base)
        with torch.autocast("cpu", torch.bfloat16, enabled=outer):
            results.append(outcome(net, spikes(20), "fused"))
    assert results[0][0] == results[1][0]
    torch.testing.assert_close(results[1][1], results[0][1], rtol=0, atol=0)
