"""The fixed matrices: their law, and that nothing but seed, name and shape decides them."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from snntorch_brp import BRP, BRPTrainer, RateEncoder, RewardPrediction, attach
from snntorch_brp.activity import Activity
from snntorch_brp.feedback import Feedback, draw_feedback
from snntorch_brp.models import convnet


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_kaiming_uniform_bounds_and_moments() -> None:
    B = draw_feedback(10, (20, 30), generator=seeded())
    bound = math.sqrt(6 / 600)  # gain √2, fan_in N: the reference's kaiming_uniform_ of a [K, N] weight
    assert B.shape == (10, 20, 30)
    assert B.abs().max() <= bound
    assert B.abs().max() > 0.99 * bound
    # 6,000 draws of U(-b, b): the mean's standard error is b/√(3·6000) = 0.0075 b, the deviation's is 0.006 b
    assert abs(B.mean()) < 0.04 * bound
    assert B.std().item() == pytest.approx(bound / math.sqrt(3), abs=0.03 * bound)


def test_same_seed_same_matrix_in_any_order() -> None:
    a, b = (Feedback(10, generator=seeded(3)) for _ in range(2))
    first = {name: a.matrix(name, (5, 2)) for name in ("lif1", "lif2")}
    for name in ("lif2", "lif1"):
        assert torch.equal(b.matrix(name, (5, 2)), first[name])
    assert not torch.equal(first["lif1"], first["lif2"])
    assert not torch.equal(Feedback(10, generator=seeded(4)).matrix("lif1", (5, 2)), first["lif1"])


def test_without_a_generator_torch_s_own_seed_decides() -> None:
    torch.manual_seed(11)
    a = Feedback(3).matrix("x", (4,))
    torch.manual_seed(11)
    assert torch.equal(Feedback(3).matrix("x", (4,)), a)


def test_saved_and_loaded_into_a_fresh_one() -> None:
    feedback = Feedback(10, generator=seeded(1))
    B = feedback.matrix("block.lif1", (3, 4))
    assert list(feedback.parameters()) == []
    fresh = Feedback(10)
    fresh.load_state_dict(feedback.state_dict())
    assert torch.equal(fresh.matrix("block.lif1", (3, 4)), B)
    assert torch.equal(fresh.matrix("later", (2,)), feedback.matrix("later", (2,)))  # the seed came along
    again = Feedback(10)
    again.matrix("block.lif1", (3, 4))
    again.load_state_dict(feedback.state_dict(), strict=False)
    assert torch.equal(again.matrix("block.lif1", (3, 4)), B)


def test_dtype_of_the_layer_but_kept_in_float32() -> None:
    feedback = Feedback(3, generator=seeded())
    half = feedback.matrix("lif", (4,), like=torch.zeros(1, dtype=torch.bfloat16))
    assert half.dtype is torch.bfloat16
    full = feedback.matrix("lif", (4,))
    assert full.dtype is torch.float32
    assert torch.equal(full.bfloat16(), half)


def test_a_seed_means_one_matrix_whatever_torch_s_defaults_are() -> None:
    expected = Feedback(3, generator=seeded()).matrix("lif", (4,))
    torch.set_default_dtype(torch.float64)
    try:
        got = Feedback(3, generator=seeded()).matrix("lif", (4,))
    finally:
        torch.set_default_dtype(torch.float32)
    assert got.dtype is torch.float32
    assert torch.equal(got, expected)


def test_names_with_slashes_have_matrices_of_their_own() -> None:
    feedback = Feedback(3, generator=seeded())
    names = ["a.b", "a/b", "a~b", "a~1b", "a/.b", "a./b"]
    matrices = [feedback.matrix(name, (4,)) for name in names]
    for i, one in enumerate(matrices):
        assert not any(torch.equal(one, other) for other in matrices[:i])
    fresh = Feedback(3)
    fresh.load_state_dict(feedback.state_dict())
    for name, one in zip(names, matrices, strict=True):
        assert torch.equal(fresh.matrix(name, (4,)), one)


def test_bad_shapes_are_told() -> None:
    feedback = Feedback(3)
    feedback.matrix("lif", (4,))
    with pytest.raises(ValueError, match=r"layer 'lif' has neurons of shape \(5,\).*drawn for \(4,\)"):
        feedback.matrix("lif", (5,))
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        Feedback(0)
    with pytest.raises(ValueError, match="needs classes and neurons"):
        draw_feedback(3, (4, 0))


def test_regions_share_one_weight_and_keep_the_matrix_small() -> None:
    feedback = Feedback(10, generator=torch.Generator().manual_seed(0), regions=4)
    B_l = feedback.matrix("conv", (5, 9, 13))
    assert B_l.shape == (10, 5, 9, 13)
    assert sum(buffer.numel() for buffer in feedback.buffers()) == 1 + 10 * 5 * 4 * 4  # the seed, and the regions
    for channel in (0, 4):  # each place has the weight of its region, and there are 16 of them
        assert len(B_l[2, channel].unique()) == 16
        assert B_l[2, channel, 0, 0] == B_l[2, channel, 1, 2]
    # as strong as a matrix of a weight for every neuron: uniform on ±sqrt(6 / N)
    assert B_l.abs().max() <= math.sqrt(6 / (5 * 9 * 13))
    assert B_l.abs().max() > 0.95 * math.sqrt(6 / (5 * 9 * 13))
    assert torch.equal(feedback.matrix("conv", (5, 9, 13)), B_l)
    assert feedback.matrix("fc", (7,)).shape == (10, 7)
    assert feedback.matrix("one", (3, 2)).shape == (10, 3, 2)  # fewer places than regions
    with pytest.raises(ValueError, match="regions must be at least 1, got 0"):
        Feedback(10, regions=0)


def test_pooled_readings_are_read_from_pooled_rates() -> None:
    """RewardPrediction through regions equals the same rule on average-pooled rates with the small matrix."""
    feedback = Feedback(3, generator=torch.Generator().manual_seed(0), regions=2)
    rate, label = torch.rand(4, 5, 6, 6, generator=torch.Generator().manual_seed(1)), torch.eye(3)[[0, 1, 2, 0]][None]
    B_l = feedback.matrix("conv", (5, 6, 6))
    small = B_l[..., ::3, ::3]  # one place of each region
    pooled = F.avg_pool2d(rate, 3).flatten(1) @ small.flatten(1).T / small.flatten(1).norm(dim=1).mean() ** 2
    window = Activity(torch.zeros(2, 4, 5, 6, 6), rate=rate)
    sent = RewardPrediction().signal(label, window=window, feedback=B_l, output=None)
    torch.testing.assert_close(sent[0], torch.softmax(5.0 * pooled, 1) - label[0])


def test_attach_and_the_trainer_take_feedback_of_ones_own() -> None:
    net = convnet((1, 8, 8), conv=[(4, 3)], hidden=[20], num_classes=3)
    feedback = Feedback(3, regions=2)
    trainer = BRPTrainer(net, num_classes=3, feedback=feedback, encoder=RateEncoder(4))
    trainer.step(torch.rand(6, 1, 8, 8), torch.arange(6) % 3)
    assert trainer.attached.feedback is feedback
    assert (3, 4, 2, 2) in {tuple(buffer.shape) for buffer in feedback.buffers()}
    with pytest.raises(ValueError, match="the feedback is for 3 classes, and num_classes is 10"):
        attach(net, BRP(), num_classes=10, feedback=feedback)
