"""Convolutions of sparse spikes against PyTorch's, and the channels-last layout that they bring with them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from snntorch_brp.fused import build, neuron_kernels, sparse_conv
from snntorch_brp.fused.scan import Leaky, adjoint, scan
from snntorch_brp.surrogate import boxcar

pytestmark = pytest.mark.skipif(build.library() is None, reason="no C++ compiler on this machine")


@settings(max_examples=60, deadline=None)
@given(
    st.booleans(),
    st.booleans(),
    st.integers(1, 3),
    st.integers(1, 20),
    st.sampled_from([(1, 3), (3, 2), (5, 5)]),
    st.sampled_from([(0, 0), (2, 1), (4, 4)]),
    st.integers(0, 2**31 - 1),
)
def test_sparse_convolutions_equal_dense_ones(flat, bias, c_in, c_out, kernel, padding, seed):
    torch.manual_seed(seed)
    if flat:
        conv = nn.Conv1d(c_in, c_out, kernel[1], padding=padding[1], bias=bias)
        z = torch.rand(4, c_in, 7) * (torch.rand(4, c_in, 7) < 0.2)
    else:
        conv = nn.Conv2d(c_in, c_out, kernel, padding=padding, bias=bias)
        z = torch.rand(4, c_in, 6, 7) * (torch.rand(4, c_in, 6, 7) < 0.2)
    out, _ = sparse_conv.convolve(z, conv)
    expected = conv(z)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)
    a = torch.randn_like(expected)
    expected.backward(a)
    weight, bias_gradient = sparse_conv.convolution_gradients(a, z, conv)
    torch.testing.assert_close(weight, conv.weight.grad, rtol=1e-4, atol=1e-5)  # sums of some 100 terms of size 1
    if bias:
        torch.testing.assert_close(bias_gradient, conv.bias.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("maximum", [True, False])
@pytest.mark.parametrize(("flat", "window"), [(False, (2, 2)), (False, (3, 2)), (False, (1, 3)), (True, (1, 2))])
def test_convolutions_that_are_pooled(flat, window, maximum):
    torch.manual_seed(0)
    if flat:
        conv, z = nn.Conv1d(2, 5, 3, padding=1), torch.rand(4, 2, 9)
        pool = (nn.MaxPool1d if maximum else nn.AvgPool1d)(window[1])
    else:
        conv, z = nn.Conv2d(2, 5, 3, padding=1), torch.rand(4, 2, 8, 9)
        pool = (nn.MaxPool2d if maximum else nn.AvgPool2d)(window)
    z = (z < 0.2).float()  # many windows hold the same value twice: the first place wins
    expected = pool(conv(z))
    out, winners = sparse_conv.convolve(z, conv, pool=sparse_conv.Pool(*window, maximum))
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)
    a = torch.randn_like(expected)
    expected.backward(a)
    weight, bias = sparse_conv.convolution_gradients(
        a, z, conv, pool=sparse_conv.Pool(*window, maximum), winners=winners
    )
    torch.testing.assert_close(weight, conv.weight.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(bias, conv.bias.grad, rtol=1e-4, atol=1e-5)


def test_only_what_it_knows_and_only_where_it_pays():
    few, many = torch.zeros(1, 2, 6, 6), torch.ones(1, 2, 6, 6)
    assert sparse_conv.worth_it(few, nn.Conv2d(2, 3, 3))
    assert not sparse_conv.worth_it(many, nn.Conv2d(2, 3, 3))
    assert not sparse_conv.worth_it(few.double(), nn.Conv2d(2, 3, 3).double())
    for options in ({"stride": 2}, {"dilation": 2}, {"groups": 2}):
        assert not sparse_conv.worth_it(few, nn.Conv2d(2, 4, 3, **options))
    assert not sparse_conv.worth_it(few, nn.Linear(6, 3))


@pytest.mark.parametrize(
    ("shape", "pool"), [((7, 8), (1, 1)), ((7, 8), (2, 2)), ((7, 8), (2, 3)), ((8,), (1, 1)), ((8,), (1, 3))]
)
@pytest.mark.parametrize("tau_ref", [1, 2])
def test_the_neurons_do_not_care_where_channels_are(shape, pool, tau_ref):
    torch.manual_seed(0)
    current = torch.randn(4, 3, 5, *shape)  # [T, B, C, H, W] or [T, B, C, W]
    neuron = Leaky(torch.tensor(0.6), torch.tensor(0.3), boxcar(), tau_ref=tau_ref)
    size = [5, *(length // window for length, window in zip(shape, pool[-len(shape) :], strict=True))]
    first, last = torch.empty(4, 3, *size), torch.empty(4, 3, *size)
    channels_last = current.movedim(2, -1).contiguous().movedim(-1, 2)
    membrane = current.clone()
    rate_first = neuron_kernels.scan_(membrane, neuron, first, pool)
    rate_last = neuron_kernels.scan_(channels_last, neuron, last, pool)
    assert torch.equal(first, last)
    assert torch.equal(rate_first, rate_last)
    assert torch.equal(membrane, channels_last)
    assert torch.equal(membrane, scan(current, neuron))
    for delta in (torch.randn(1, 3, 5, *shape), torch.randn(4, 3, 5, *shape)):
        expected = adjoint(membrane, neuron, grad_spikes=delta)
        for layout in (membrane.clone(), channels_last.clone()):
            torch.testing.assert_close(neuron_kernels.adjoint_(layout, neuron, grad_spikes=delta), expected)
