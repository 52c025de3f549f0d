"""Filters of whitened patches, thresholds set on samples, features on one scale, direct coding."""

from __future__ import annotations

from typing import Any

import pytest
import snntorch as snn
import torch
import torch.nn.functional as F
from torch import nn

from snntorch_brp import Backprop, ErrorProjection, RefractoryLeaky, RewardPrediction
from snntorch_brp.attachment import attach
from snntorch_brp.encoding import DirectEncoder
from snntorch_brp.feedback import Feedback
from snntorch_brp.fused import FusedEngine
from snntorch_brp.initialization import calibrate, patch_filters
from snntorch_brp.propagation import BRP, Propagation
from snntorch_brp.sequence import unroll
from snntorch_brp.standardize import Standardize
from snntorch_brp.training import rate_mse

T, B, K = 5, 12, 3


def neuron() -> RefractoryLeaky:
    return RefractoryLeaky(beta=0.5, threshold=0.5, init_hidden=True)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(2, 6, 3, padding=1), neuron(), nn.AvgPool2d(4), nn.Flatten()),
        *(Standardize(24), nn.Linear(24, 20), neuron(), Standardize(20), nn.Linear(20, K), neuron()),
    )


def images(seed: int = 0) -> torch.Tensor:
    return torch.rand(B, 2, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_patch_filters_see_whitened_patches() -> None:
    """By another way: the filters' responses to patches equal products of whitened patches with whitened patches."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(300, 1, 6, 6, generator=generator, dtype=torch.float64)
    smooth = F.avg_pool2d(noise, 3, stride=1, padding=1) + 2  # neighbours alike, and a mean
    conv = nn.Conv2d(1, 40, 3).double()
    patch_filters(conv, smooth, epsilon=1e-6, generator=generator)
    patches = F.unfold(smooth, 3).transpose(1, 2).flatten(0, 1)
    mean, covariance = patches.mean(0), torch.cov(patches.T)
    whitened = torch.linalg.solve(torch.linalg.cholesky(covariance), (patches - mean).T).T
    responses = conv(smooth).flatten(2).transpose(1, 2).flatten(0, 1)
    # ZCA and Cholesky whitening differ by a rotation, under which filter f answers patch p with f's unit patch · p
    directions = torch.linalg.lstsq(whitened, responses).solution
    torch.testing.assert_close(directions.norm(dim=0), torch.ones(40, dtype=torch.float64), rtol=1e-3, atol=0)
    torch.testing.assert_close(responses.mean(0), torch.zeros(40, dtype=torch.float64), rtol=0, atol=1e-6)
    torch.testing.assert_close(responses.std(0), torch.ones(40, dtype=torch.float64), rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    ("conv", "shape", "message"),
    [
        (nn.Conv2d(2, 4, 3), (5, 3, 8, 8), r"cannot take patches of images of shape \(5, 3, 8, 8\)"),
        (nn.Conv2d(2, 4, 3), (5, 2, 2, 8), "cannot take patches"),
        (nn.Conv2d(2, 4, (3, 5)), (5, 2, 8, 8), "square kernel"),
        (nn.Conv2d(2, 4, 3, bias=False), (5, 2, 8, 8), "a bias"),
    ],
)
def test_patch_filters_say_what_does_not_fit(conv: nn.Conv2d, shape: tuple[int, ...], message: str) -> None:
    before = conv.weight.clone()
    with pytest.raises(ValueError, match=message):
        patch_filters(conv, torch.rand(shape))
    assert torch.equal(conv.weight, before)


def test_calibration_gives_every_layer_the_currents_asked_for() -> None:
    net, x = network(), DirectEncoder(T)(images())
    rates = calibrate(net, x, mean=-0.2, std=1.0)
    assert list(rates) == ["1", "6", "9"]
    assert all(0.05 < rate < 0.4 for rate in rates.values())
    z = x
    for module in net:
        if isinstance(module, RefractoryLeaky):
            z = torch.stack([module(z_t) for z_t in z])
            continue
        z = torch.stack([module(z_t) for z_t in z])
        if isinstance(module, nn.Linear | nn.Conv2d):  # channels are dimension 2 of [T, B, C, ...]
            current = z.transpose(0, 2).flatten(1)
            torch.testing.assert_close(current.mean(1), torch.full((len(current),), -0.1), rtol=0, atol=1e-5)
            torch.testing.assert_close(current.std(1, correction=0), torch.full((len(current),), 0.5))
        if isinstance(module, Standardize):
            rate = z.mean(0)
            torch.testing.assert_close(rate.mean(0), torch.zeros(rate.shape[1]), rtol=0, atol=1e-5)
    assert net.training


@pytest.mark.parametrize("kind", [snn.RLeaky, snn.RSynaptic])
def test_calibration_leaves_the_weights_within_a_recurrent_layer(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    decays = (0.5,) if kind is snn.RLeaky else (0.5, 0.5)
    hidden = kind(*decays, linear_features=6, threshold=0.5, init_hidden=True)
    net = nn.Sequential(nn.Linear(4, 6), nn.Sequential(hidden), nn.Linear(6, K), neuron())
    within = [p.clone() for p in hidden.parameters()]
    x = torch.rand(T, B, 4)
    assert list(calibrate(net, x, mean=0.1, std=0.5)) == ["1.0", "3"]
    assert all(torch.equal(p, before) for p, before in zip(hidden.parameters(), within, strict=True))
    current = net[0](x).flatten(0, 1)
    torch.testing.assert_close(current.mean(0), torch.full((6,), 0.05), rtol=0, atol=1e-5)
    torch.testing.assert_close(current.std(0, correction=0), torch.full((6,), 0.25))


@pytest.mark.parametrize("wrong", ["a synapse that leads nowhere", "an input that does not fit", "Ctrl-C"])
def test_calibration_changes_all_or_nothing(wrong: str) -> None:
    class Stopped(nn.Identity):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise KeyboardInterrupt

    last = Stopped() if wrong == "Ctrl-C" else nn.Linear(9 if "fit" in wrong else 5, 2)
    behind = [neuron()] if "fit" in wrong else []
    net = nn.Sequential(Standardize(4), nn.Linear(4, 5), neuron(), nn.Dropout().eval(), last, *behind)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    with pytest.raises((ValueError, RuntimeError, KeyboardInterrupt)) as error:
        calibrate(net, torch.rand(T, B, 4))
    if wrong.startswith("a synapse"):
        assert "'4' leads to no neuron" in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert [module.training for module in net.modules()] == modes
    assert not net[2].mem.any()


def test_standardize_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="features=0"):
        Standardize(0)
    with pytest.raises(ValueError, match=r"gain=-1"):
        Standardize(3, gain=-1)


def test_direct_coding_shows_the_standardized_sample_at_every_step() -> None:
    x = images() * 3 + 1
    shown = DirectEncoder(T)(x)
    assert shown.shape == (T, *x.shape)
    assert shown.stride(0) == 0  # one memory
    flat = shown[3].flatten(1)
    torch.testing.assert_close(flat.mean(1), torch.zeros(B), rtol=0, atol=1e-5)
    torch.testing.assert_close(flat.std(1, correction=0), torch.ones(B))
    assert torch.equal(DirectEncoder(T, standardize=False)(x)[2], x)
    assert DirectEncoder(T)(torch.full((1, 1, 2, 2), 0.7)).abs().max() < 1e-5  # an even sample: nothing to see
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        DirectEncoder(0)


@pytest.mark.parametrize(
    "rule", [BRP(centered=True), RewardPrediction(kappa=10, cosine=True), ErrorProjection(), Backprop()]
)
@pytest.mark.parametrize("direct", [True, False])
def test_executors_agree_behind_standardize_and_under_direct_coding(rule: Propagation, direct: bool) -> None:
    """In float64, where the fused engine folds Standardize into the product and computes the first synapse once."""
    net, labels = network().double(), torch.arange(B) % K
    x = DirectEncoder(T)(images().double())
    x = x if direct else (x > torch.randn(x.shape, generator=torch.Generator().manual_seed(1))).double()
    calibrate(net, x)
    engine = FusedEngine(net, rule, num_classes=K, loss_fn=rate_mse, feedback=Feedback(K, generator=seeded()))
    loss, _ = engine.step(x, labels)
    fused = [p.grad for p in net.parameters()]
    net.zero_grad()
    with attach(net, rule, num_classes=K, generator=seeded()) as brp:
        other = rate_mse(unroll(net, x), labels)
        brp.backward(other, labels)
    assert loss == pytest.approx(other.item(), abs=1e-12)
    for mine, p in zip(fused, net.parameters(), strict=True):
        assert mine is not None
        assert mine.abs().max() > 0
        torch.testing.assert_close(mine, p.grad, rtol=1e-9, atol=1e-12)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_the_first_synapse_runs_once_under_direct_coding(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    conv2d = F.conv2d

    def note(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        seen.append(len(x))
        return conv2d(x, *args, **kwargs)

    monkeypatch.setattr(F, "conv2d", note)
    net = network()
    engine = FusedEngine(net, BRP(), num_classes=K, loss_fn=rate_mse, chunk=B)
    engine.step(DirectEncoder(T)(images()), torch.arange(B) % K)
    assert B in seen  # images
    assert T * B not in seen


def test_dropout_before_the_first_synapse_is_drawn_at_every_step() -> None:
    net = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 6), neuron(), nn.Linear(6, K), neuron())
    engine = FusedEngine(net, BRP(), num_classes=K, loss_fn=rate_mse)
    assert not engine.layers[0].synapse.deterministic
    assert engine.layers[1].synapse.deterministic
