"""The fixed matrices: their law, and that nothing but seed, name and shape decides them."""

from __future__ import annotations

import math

import pytest
import torch

from snntorch_brp.feedback import Feedback, draw_feedback


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


def test_bad_shapes_are_told() -> None:
    feedback = Feedback(3)
    feedback.matrix("lif", (4,))
    with pytest.raises(ValueError, match=r"layer 'lif' has neurons of shape \(5,\).*drawn for \(4,\)"):
        feedback.matrix("lif", (5,))
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        Feedback(0)
    with pytest.raises(ValueError, match="needs classes and neurons"):
        draw_feedback(3, (4, 0))
