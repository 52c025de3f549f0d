"""Encoders against eqs. 3 and 4."""

from __future__ import annotations

import pytest
import torch

from snntorch_brp import RateEncoder, label_spikes, rate_encode
from snntorch_brp.encoding import check_labels


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_brighter_fires_more_at_the_rate_of_eq_3(alpha: float) -> None:
    intensity = torch.tensor([0.0, 0.1, 0.3, 0.6, 1.0])
    steps = 20_000
    spikes = rate_encode(intensity, steps, alpha=alpha, generator=seeded())
    assert spikes.unique().tolist() == [0, 1]
    expected = (intensity / alpha).clamp(max=1)
    # the standard error of a rate is at most 0.5/√20000 = 0.0035
    assert torch.allclose(spikes.mean(0), expected, atol=0.015)
    assert (spikes[:, 0] == 0).all()


def test_dtype_shape_and_fresh_draws_at_every_step() -> None:
    x = torch.full((2, 1, 4, 4), 0.5, dtype=torch.float64)
    spikes = rate_encode(x, 6, generator=seeded())
    assert spikes.shape == (6, 2, 1, 4, 4)
    assert spikes.dtype is torch.float64
    assert not torch.equal(spikes[0], spikes[1])
    assert torch.equal(spikes, rate_encode(x, 6, generator=seeded()))
    assert torch.equal(RateEncoder(6, generator=seeded())(x), spikes)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rate_encode(torch.rand(3), 0), "steps must be at least 1, got 0"),
        (lambda: rate_encode(torch.rand(3), 2, alpha=0), "alpha must be positive, got 0"),
        (lambda: rate_encode(torch.zeros(3, dtype=torch.uint8), 2), r"got torch.uint8: use x.float\(\) / 255"),
        (lambda: RateEncoder(0), "steps must be at least 1"),
        (lambda: label_spikes(torch.tensor([0]), 2, 0), "steps must be at least 1"),
        (lambda: label_spikes(torch.tensor([0]), 2, 1, rate=0), r"rate must lie in \(0, 1\]"),
        (lambda: label_spikes(torch.tensor([2]), 2, 1), r"0\.\.1 \(num_classes=2\), got 2\.\.2"),
        (lambda: check_labels(torch.tensor([True]), 2), "must be integers, got torch.bool"),
        (lambda: check_labels(torch.tensor(1), 2), r"vector \[B\] of class numbers, got \(\)"),
    ],
)
def test_bad_settings_are_told(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_label_spikes_fire_the_right_neuron_only() -> None:
    labels = torch.tensor([2, 0])
    assert torch.equal(label_spikes(labels, 3, 4), torch.eye(3)[labels].expand(4, -1, -1))
    spikes = label_spikes(labels, 3, 20_000, rate=0.3, generator=seeded(), dtype=torch.float64)
    assert spikes.dtype is torch.float64
    assert torch.allclose(spikes.mean(0), 0.3 * torch.eye(3, dtype=torch.float64)[labels], atol=0.015)
    assert (spikes.sum(2) <= 1).all()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_labels_of_any_integer_type(dtype: torch.dtype) -> None:
    assert label_spikes(torch.tensor([1, 0], dtype=dtype), 2, 1).tolist() == [[[0, 1], [1, 0]]]
