"""Convolutions of spikes by tables, and blocks of batch norm and pooling, against PyTorch's own modules."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from snntorch_brp.feedback import Feedback
from snntorch_brp.fused import FusedEngine, block, build, spike_conv
from snntorch_brp.fused.block_synapse import BlockSynapse, normalizing
from snntorch_brp.fused.layers import plan
from snntorch_brp.fused.sparse_conv import NO_POOL, Pool
from snntorch_brp.neurons import RefractoryLeaky
from snntorch_brp.propagation import BRP, ErrorProjection
from snntorch_brp.training import rate_mse

pytestmark = pytest.mark.skipif(build.library() is None, reason="no C++ compiler")
# sums of some 300 numbers of size 1 in another order, and in float64 as exact as that is
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-11}
CONVOLUTIONS = [
    (lambda: nn.Conv1d(3, 4, 5, padding=2), (10, 5, 3)),
    (lambda: nn.Conv2d(2, 20, 3, padding=1, stride=2, dilation=(1, 2), bias=False), (7, 9, 8, 2)),
    (lambda: nn.Conv2d(33, 40, 3), (3, 9, 8, 33)),
    (lambda: nn.Conv2d(4, 70, (1, 2), stride=(1, 3)), (40, 2, 5, 4)),
]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("make", "shape"), CONVOLUTIONS)
def test_kernels_of_tables_equal_the_convolution(make, shape, dtype):
    torch.manual_seed(0)
    conv, z = make().to(dtype), (torch.rand(shape) < 0.4).to(torch.uint8)
    expected = conv(z.to(dtype).movedim(-1, 1))
    y = spike_conv.convolve(z, conv, conv.weight)
    torch.testing.assert_close(y.movedim(-1, 1), expected, rtol=0, atol=TOLERANCE[dtype])
    a = torch.randn_like(y)
    expected.backward(a.movedim(-1, 1))
    found = spike_conv.weight_gradient(a, z, conv)
    torch.testing.assert_close(found, conv.weight.grad, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_kernels_of_tables_do_not_spread_what_is_not_finite(value):
    conv, z = nn.Conv2d(1, 1, 1), torch.tensor([1, 0, 1, 0], dtype=torch.uint8).view(4, 1, 1, 1)
    found = spike_conv.weight_gradient(torch.tensor([1.0, value, 2.0, value]).view(4, 1, 1, 1), z, conv)
    assert found.item() == 3


def test_kernels_of_tables_refuse_images_that_do_not_fit():
    conv = nn.Conv2d(2, 3, 3)
    with pytest.raises(ValueError, match="do not fit"):
        spike_conv.convolve(torch.zeros(1, 5, 5, 3, dtype=torch.uint8), conv, conv.weight)
    with pytest.raises(ValueError, match="smaller than the kernel"):
        spike_conv.convolve(torch.zeros(1, 2, 5, 2, dtype=torch.uint8), conv, conv.weight)
    with pytest.raises(ValueError, match=r"it holds torch\.float32"):
        spike_conv.convolve(torch.zeros(1, 5, 5, 2), conv, conv.weight)


POOLS = [NO_POOL, Pool(2, 2, maximum=True), Pool(2, 2), Pool(3, 2, maximum=True), Pool(1, 2, maximum=True)]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("norm", ["batch", "running", "none"])
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("channels", [1, 4, 20])
def test_kernels_of_blocks_equal_the_modules(channels, pool, norm, dtype):
    torch.manual_seed(0)
    T, B = 3, 4
    y = torch.randn(B * T, 7, 9, channels, dtype=dtype)
    bn = nn.BatchNorm2d(channels).to(dtype).train(norm == "batch")
    nn.init.uniform_(bn.weight, -1, 1)
    nn.init.uniform_(bn.bias)
    nn.init.uniform_(bn.running_mean)
    own, leaf = copy.deepcopy(bn), y.clone().requires_grad_()
    expected = []
    for t in range(T):
        z = leaf.unflatten(0, (B, T))[:, t].movedim(-1, 1)
        z = z if norm == "none" else bn(z)
        window = (pool.height, pool.width)
        expected.append(F.max_pool2d(z, window) if pool.maximum else F.avg_pool2d(z, window))
    expected = torch.stack(expected, 1).flatten(0, 1)

    affine = block.nothing(y, T) if norm == "none" else normalizing(y, own, T, 1)
    out = block.forward(y, affine, pool)
    tolerance = {"rtol": 0, "atol": TOLERANCE[dtype]}
    torch.testing.assert_close(out.movedim(-1, 1), expected, **tolerance)
    g = torch.randn_like(out)
    expected.backward(g.movedim(-1, 1))
    gradients = block.backward_(y, affine, pool, g)
    torch.testing.assert_close(y, leaf.grad, **tolerance)
    if norm != "none":
        torch.testing.assert_close(gradients.gamma, bn.weight.grad, **tolerance)
        torch.testing.assert_close(gradients.beta, bn.bias.grad, **tolerance)
    torch.testing.assert_close(gradients.bias, leaf.grad.sum((0, 1, 2)), rtol=0, atol=10 * TOLERANCE[dtype])
    for name, buffer in bn.named_buffers():
        torch.testing.assert_close(own.get_buffer(name), buffer, **tolerance)


def test_the_maximum_of_nothing_but_nan_is_nan():
    y = torch.full((1, 2, 2, 3), float("nan"))
    y[0, 1, 1] = 5
    assert block.forward(y, block.nothing(y, 1), Pool(2, 2, maximum=True)).isnan().all()


@pytest.mark.parametrize("order", ["conv norm pool", "conv pool norm", "pool conv norm", "conv norm", "pool conv pool"])
def test_blocks_are_found_in_every_order(order):
    made = {
        "conv": lambda: nn.Conv2d(2, 2, 3, padding=1),
        "norm": lambda: nn.BatchNorm2d(2),
        "pool": lambda: nn.MaxPool2d(2),
    }
    neuron = lambda: RefractoryLeaky(init_hidden=True)  # noqa: E731
    modules = [made[name]() for name in order.split()]
    net = nn.Sequential(nn.Conv2d(1, 2, 3), neuron(), *modules, neuron(), nn.Flatten(), nn.Linear(8, 3), neuron())
    assert type(plan(net)[1].synapse) is BlockSynapse


@pytest.mark.parametrize("rule", [BRP, ErrorProjection])
@pytest.mark.parametrize("same", [False, True])
def test_normalized_blocks_run_some_samples_at_a_time(rule, same):
    def learned(chunk):
        torch.manual_seed(0)
        conv, pool = (nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5)), nn.MaxPool2d(2)
        hidden = nn.Conv2d(5, 3, 3, padding=1), nn.BatchNorm2d(3)
        neurons = [RefractoryLeaky(0.5, threshold=0.5, init_hidden=True) for _ in range(3)]
        net = nn.Sequential(*conv, pool, neurons[0], *hidden, neurons[1], nn.Flatten(), nn.Linear(27, 4), neurons[2])
        feedback = Feedback(4, generator=torch.Generator().manual_seed(1))
        net = net.double()
        x = torch.rand(4, 7, 2, 8, 8, dtype=torch.float64)
        x = x[:1].expand(4, -1, -1, -1, -1) if same else x
        options = {"num_classes": 4, "loss_fn": rate_mse, "feedback": feedback, "chunk": chunk}
        loss, rates = FusedEngine(net, rule(), **options).step(x, torch.arange(7) % 4)
        return [loss, rates, *(p.grad for p in net.parameters()), *net.buffers()]

    whole = learned(7)
    assert all(whole[place].any() for place in (2, 4, 5, 6, 8, 9, 10))  # a bias before a batch norm does nothing
    for chunk in (1, 3):
        torch.testing.assert_close(learned(chunk), whole, rtol=1e-10, atol=1e-14)  # sums in another order
