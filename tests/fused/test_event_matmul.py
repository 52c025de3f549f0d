"""Products of few spikes against dense ones in double precision."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snntorch_brp import BRP, BRPTrainer
from snntorch_brp.fused import build, event_matmul
from snntorch_brp.models import mlp

pytestmark = pytest.mark.skipif(build.library() is None, reason="no C++ compiler on this machine")

sizes = st.integers(1, 40) | st.sampled_from([65, 130, 515, 1030])  # beside and beyond what lies in cache at a time


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, sizes, st.sampled_from([0.0, 0.1, 1.0]), st.booleans(), st.integers(0, 2**31 - 1))
def test_products_of_spikes_equal_dense_ones(M, K, N, share, bias, seed):
    torch.manual_seed(seed)
    z = (torch.rand(M, K) < share).float()
    weight, b, a = torch.randn(N, K), torch.randn(N) if bias else None, torch.randn(M, N)
    current, gradient = event_matmul.linear(z, weight, b), event_matmul.weight_gradient(a, z)
    assert torch.equal(current, event_matmul.linear(z.byte(), weight, b))
    assert torch.equal(gradient, event_matmul.weight_gradient(a, z.byte()))
    expected = z.double() @ weight.double().T + (0 if b is None else b.double())
    # sums of up to 1,030 numbers of size 1, each rounded at up to 100 times that
    torch.testing.assert_close(current.double(), expected, rtol=1e-5, atol=5e-4)
    torch.testing.assert_close(gradient.double(), a.double().T @ z.double(), rtol=1e-5, atol=5e-4)


def test_values_are_kept_whatever_they_are():
    z = torch.tensor([[0.25, 0.0, -3.0], [0.0, 0.0, 0.0], [float("nan"), 0.0, float("inf")]])
    weight, a = torch.arange(6.0).view(2, 3) + 1, torch.ones(3, 2)
    assert torch.equal(event_matmul.linear(z, weight, None)[:2], (z @ weight.T)[:2])
    assert event_matmul.linear(z, weight, None)[2].isnan().all()
    assert torch.equal(event_matmul.weight_gradient(a[:2], z[:2]), a[:2].T @ z[:2])
    assert event_matmul.weight_gradient(a, z)[:, 0].isnan().all()


def test_views_are_read_as_they_are():
    whole = (torch.rand(60, 50) < 0.2).float()
    z, weight, a = whole.T[::2], torch.randn(60, 7).T, torch.randn(7, 25).T
    torch.testing.assert_close(event_matmul.linear(z, weight, None), z @ weight.T, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(event_matmul.weight_gradient(a, z), a.T @ z, rtol=1e-5, atol=1e-5)


def test_any_number_of_threads_gives_the_same_bits():
    torch.manual_seed(0)
    z, weight, a = (torch.rand(300, 200) < 0.1).float(), torch.randn(500, 200), torch.randn(300, 500)
    threads, found = torch.get_num_threads(), []
    try:
        for number in (1, 2, 5):
            torch.set_num_threads(number)
            found.append((event_matmul.linear(z, weight, None), event_matmul.weight_gradient(a, z)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for pair in found[1:] for one, other in zip(found[0], pair, strict=True))


def test_only_few_spikes_in_single_precision_are_taken():
    few, many, weight = torch.eye(64), torch.ones(64, 64), torch.ones(128, 64)
    assert event_matmul.worth_it(few, weight)
    assert event_matmul.worth_it(few.byte(), weight)
    assert not event_matmul.worth_it(many, weight)
    assert not event_matmul.worth_it(few.double(), weight.double())
    assert not event_matmul.worth_it(few.bfloat16(), weight)
    assert not event_matmul.worth_it(few, weight[:10])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="weights"):
        event_matmul.linear(torch.eye(4), torch.ones(3, 5), None)
    with pytest.raises(ValueError, match="gradients"):
        event_matmul.weight_gradient(torch.ones(5, 3), torch.eye(4))
    with pytest.raises(ValueError, match="spikes"):
        event_matmul.linear(torch.eye(4, dtype=torch.int32), torch.ones(3, 4), None)


@pytest.mark.parametrize("few", [True, False])
def test_a_network_learns_the_same_either_way(few, monkeypatch):
    monkeypatch.setattr(event_matmul, "DENSITY", 1.0 if few else -1.0)
    monkeypatch.setattr(event_matmul, "PER_OUTPUT", 1.0)
    calls = []
    gradient = event_matmul.weight_gradient
    monkeypatch.setattr(event_matmul, "weight_gradient", lambda a, z: calls.append(1) or gradient(a, z))
    torch.manual_seed(0)
    net = mlp([80, 128, 112, 10])
    x, labels = (torch.rand(6, 16, 80) < 0.1).float(), torch.arange(16) % 10
    gradients = {}
    for engine in ("attach", "fused"):
        trainer = BRPTrainer(
            net, num_classes=10, engine=engine, propagation=BRP(), generator=torch.Generator().manual_seed(1)
        )
        trainer.executor.learn(x, labels)
        gradients[engine] = [p.grad for p in net.parameters()]
        net.zero_grad()
    assert len(calls) == (2 if few else 0)  # the last layer has too few outputs
    assert any(g.abs().max() > 0 for g in gradients["fused"])
    for expected, got in zip(*gradients.values(), strict=True):
        # sums of 96 terms in another order
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()) + 1e-9)
