"""The compiled kernels against their definition in plain torch, and what happens without a compiler."""

from __future__ import annotations

import logging

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from snntorch import surrogate

from snntorch_brp.feedback import Feedback
from snntorch_brp.fused import FusedEngine, build, event_matmul, matmul, neuron_kernels, sparse_conv
from snntorch_brp.fused.scan import Leaky, adjoint, scan
from snntorch_brp.models import mlp
from snntorch_brp.propagation import BRP
from snntorch_brp.surrogate import boxcar
from snntorch_brp.training import rate_mse

needs_compiler = pytest.mark.skipif(build.library() is None, reason="no C++ compiler on this machine")
needs_matrix_units = pytest.mark.skipif(not matmul.matrix_units_available(), reason="no bfloat16 matrix units")


@st.composite
def layers(draw):
    """Currents of a layer and its constants."""
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    pool = draw(st.sampled_from([(1, 1), (2, 2), (1, 3), (3, 2)]))
    shape = draw(st.sampled_from([(5, 7, 6), (2, 9), (2050,)])) if pool == (1, 1) else (3, 7, 8)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31 - 1)))
    T, B = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    current = torch.randn(B, T, *shape, generator=generator, dtype=dtype).transpose(0, 1)
    neuron = Leaky(
        torch.tensor(draw(st.sampled_from([0.2, 0.9])), dtype=dtype),
        torch.tensor(draw(st.sampled_from([0.1, 0.5])), dtype=dtype),
        draw(st.sampled_from([boxcar(), boxcar(0.2), surrogate.fast_sigmoid()])),
        reset=draw(st.sampled_from(["forget", "forget", "subtract", "none"])),
        tau_ref=draw(st.integers(1, 4)),
        v_rest=draw(st.sampled_from([0.0, 0.6])),
        v_reset=draw(st.sampled_from([0.0, -0.3])),
        detach_reset=draw(st.booleans()),
    )
    if neuron.reset != "forget":  # snn.Leaky knows neither rest nor refractory period
        neuron = Leaky(neuron.beta, neuron.threshold, neuron.spike_grad, reset=neuron.reset, detach_reset=True)
    return current, neuron, pool, generator


@needs_compiler
@settings(max_examples=150, deadline=None)
@given(layers(), st.booleans(), st.booleans(), st.booleans())
def test_kernels_equal_the_definition(layer, constant, with_spikes, with_membrane):
    current, neuron, pool, generator = layer
    (T, B), shape = current.shape[:2], current.shape[2:]
    expected = scan(current, neuron)
    fired = (expected > neuron.threshold).to(current.dtype)
    pooled = fired if pool == (1, 1) else F.avg_pool2d(fired.flatten(0, 1), pool).unflatten(0, (T, B))

    membrane, spikes = current.clone(), torch.empty_like(pooled)
    rate = neuron_kernels.scan_(membrane, neuron, spikes, pool)
    torch.testing.assert_close(membrane, expected, rtol=0, atol=0)  # the same arithmetic in the same order
    torch.testing.assert_close(spikes, pooled, rtol=1e-6, atol=0)
    torch.testing.assert_close(rate, fired.mean(0), rtol=1e-6, atol=0)

    def gradient(wanted):
        steps = 1 if constant else T
        return torch.randn(steps, B, *shape, generator=generator, dtype=current.dtype) if wanted else None

    gradients = {"grad_spikes": gradient(with_spikes), "grad_membrane": gradient(with_membrane)}
    expected = adjoint(membrane.clone(), neuron, **gradients)
    # sums of at most τ_ref + 2 terms of size about 1, in another order
    epsilon = 20 * torch.finfo(current.dtype).eps
    got = neuron_kernels.adjoint_(membrane, neuron, **gradients)
    torch.testing.assert_close(got, expected, rtol=epsilon, atol=epsilon)


@needs_compiler
@settings(max_examples=60, deadline=None)
@given(layers())
def test_currents_that_stay_the_same_are_kept_once(layer):
    current, neuron, pool, generator = layer
    same, T = current[:1], len(current)
    expected = current.copy_(same.expand_as(current)).clone()
    shape = neuron_kernels.pooled(current.shape, pool)
    spikes, once = torch.empty(shape, dtype=current.dtype), torch.empty(shape, dtype=current.dtype)
    rate = neuron_kernels.scan_(expected, neuron, spikes, pool)
    membrane = torch.full_like(current, float("nan"))  # what it holds does not count
    assert torch.equal(neuron_kernels.scan_(membrane, neuron, once, pool, same=same.clone()), rate)
    assert torch.equal(membrane, expected)
    assert torch.equal(once, spikes)
    delta = torch.randn(1, *current.shape[1:], generator=generator, dtype=current.dtype)
    total = neuron_kernels.adjoint_(membrane, neuron, grad_spikes=delta, summed=True)
    a = neuron_kernels.adjoint_(expected, neuron, grad_spikes=delta)
    epsilon = 20 * T * torch.finfo(current.dtype).eps  # a sum of T terms of size about 1, in another order
    torch.testing.assert_close(total, a.sum(0, keepdim=True), rtol=epsilon, atol=epsilon)


@needs_compiler
@settings(max_examples=60, deadline=None)
@given(layers())
def test_spikes_of_one_byte_are_those_of_four(layer):
    current, neuron, _, _ = layer
    spikes, narrow = torch.empty_like(current), torch.full_like(current, 7, dtype=torch.uint8)
    neuron_kernels.scan_(current.clone(), neuron, spikes, (1, 1))
    neuron_kernels.scan_(current, neuron, narrow, (1, 1))
    assert torch.equal(narrow, spikes.to(torch.uint8))


@needs_compiler
def test_pooled_spikes_are_exact_in_bfloat16():
    current = torch.randn(3, 2, 4, 8, 8)
    neuron = Leaky(torch.tensor(0.5), torch.tensor(0.3), boxcar())
    spikes, rounded = torch.empty(3, 2, 4, 4, 4), torch.empty(3, 2, 4, 4, 4, dtype=torch.bfloat16)
    neuron_kernels.scan_(current.clone(), neuron, spikes, (2, 2))
    neuron_kernels.scan_(current.clone(), neuron, rounded, (2, 2))
    assert torch.equal(rounded.float(), spikes)


@needs_matrix_units
@pytest.mark.parametrize("size", [1, 37, 1000])
def test_three_bfloat16_numbers_hold_a_float32(size):
    torch.manual_seed(0)
    x = torch.randn(size, size) * torch.logspace(-20, 20, size)
    one = torch.eye(size, dtype=torch.bfloat16)
    assert torch.equal(matmul.linear(one, x, None, bf16_terms=3), x.T)
    assert torch.equal(matmul.linear(one, x, None, bf16_terms=1), x.T.bfloat16().float())
    assert torch.equal(matmul.weight_gradient(x, one, None, bf16_terms=3), x.T)
    assert torch.equal(matmul.weight_gradient(x, one, None, bf16_terms=1), x.T.bfloat16().float())


@needs_matrix_units
@pytest.mark.parametrize(("M", "N", "K"), [(60, 37, 129), (1, 1, 1), (32, 64, 96), (800, 300, 40), (33, 10, 1600)])
def test_products_of_spikes_are_float32_products(M, N, K):
    torch.manual_seed(0)
    z, weight, bias, a = (torch.rand(M, K) < 0.3).bfloat16(), torch.randn(N, K), torch.randn(N), torch.randn(M, N)
    got = matmul.linear(z, weight, bias, bf16_terms=3)
    expected = z.double() @ weight.double().T + bias
    # three sums of K float32 terms of size 1 or less: K ulp at worst, some sqrt(K) of them as a rule
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=16 * K**0.5 * 2**-23)
    gradient = torch.ones(N, K)
    matmul.weight_gradient(a, z, gradient, bf16_terms=3)
    fresh, expected = matmul.weight_gradient(a, z, None, bf16_terms=3), a.double().T @ z.double()
    torch.testing.assert_close(fresh.double(), expected, rtol=0, atol=16 * M**0.5 * 2**-23)
    torch.testing.assert_close(gradient.double(), 1 + expected, rtol=0, atol=16 * M**0.5 * 2**-23)
    rough = matmul.linear(z, weight, bias, bf16_terms=1)
    torch.testing.assert_close(rough, z.float() @ weight.bfloat16().float().T + bias, rtol=1e-5, atol=1e-4)


def test_without_a_compiler_plain_torch_runs_and_the_log_says_so(monkeypatch, caplog):
    feedback = Feedback(3)
    net, x, labels = mlp([6, 40, 3]), (torch.rand(5, 4, 6) < 0.5).float(), torch.tensor([0, 1, 2, 0])
    FusedEngine(net, BRP(), num_classes=3, loss_fn=rate_mse, feedback=feedback).step(x, labels)
    expected = [p.grad for p in net.parameters()]
    net.zero_grad()
    monkeypatch.setattr(build.shutil, "which", lambda _: None)
    fresh = build.library.__wrapped__
    with caplog.at_level(logging.WARNING):
        assert fresh() is None
    assert "no C++ compiler found" in caplog.text
    for module in (neuron_kernels, sparse_conv, event_matmul):
        monkeypatch.setattr(module, "library", lambda: None)
    monkeypatch.setattr(matmul, "matrix_units_available", lambda: False)
    FusedEngine(net, BRP(), num_classes=3, loss_fn=rate_mse, feedback=feedback).step(x, labels)
    for p, gradient in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, gradient, rtol=1e-5, atol=1e-7)


def test_bfloat16_without_matrix_units_is_told(monkeypatch, caplog):
    monkeypatch.setattr("snntorch_brp.fused.engine.matrix_units_available", lambda: False)
    with caplog.at_level("WARNING", logger="snntorch_brp.fused.engine"):
        FusedEngine(mlp([4, 5, 3]), BRP(), num_classes=3, loss_fn=rate_mse, precision="bfloat16")
    assert "computes its products in float32" in caplog.text
