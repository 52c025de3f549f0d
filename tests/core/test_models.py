"""The paper's networks and its notation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from snntorch_brp.models import cifar10_net, convnet, dvsgesture_net, mlp, mnist_net, network, tidigits_net
from snntorch_brp.sequence import observe, unroll

TABLE_II = [
    (mnist_net, (1, 28, 28), 10, [28 * 28 * 28, 1000, 10]),
    (cifar10_net, (3, 32, 32), 10, [32 * 32 * 32, 1000, 10]),
    (tidigits_net, (1, 30), 10, [100 * 30, 1000, 10]),
    (lambda: tidigits_net(dimensions=2), (1, 30, 30), 10, [28 * 30 * 30, 1000, 10]),
    (dvsgesture_net, (1, 32, 32), 11, [32 * 32 * 32, 1000, 11]),
    (lambda: dvsgesture_net(channels=2), (2, 32, 32), 11, [32 * 32 * 32, 1000, 11]),
]


@pytest.mark.parametrize(("make", "shape", "classes", "neurons"), TABLE_II)
def test_table_ii(make: object, shape: tuple[int, ...], classes: int, neurons: list[int]) -> None:
    net = make()
    activity = observe(net, lambda: unroll(net, torch.rand(2, 3, *shape)))
    assert [layer.spikes[0, 0].numel() for layer in activity.values()] == neurons
    assert neurons[-1] == classes


def test_every_network_trains_by_ordinary_bptt() -> None:
    torch.manual_seed(0)
    net = network("Conv3x3x4-S2-FC20-FC3", (1, 8, 8))
    spikes = unroll(net, (torch.rand(5, 6, 1, 8, 8) < 0.5).float() * 3)
    nn.functional.mse_loss(spikes.mean(0), torch.eye(3).repeat(2, 1)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_notation_and_builders_agree() -> None:
    written = network("Conv3x3x4-S2-Conv5x5x6-S2-FC20-FC3", (1, 8, 8))
    built = convnet((1, 8, 8), conv=[(4, 3), (6, 5)], hidden=[20], num_classes=3)
    assert str(written) == str(built)
    assert str(network("64-30-3", (1, 8, 8))) == str(mlp([64, 30, 3]))


@pytest.mark.parametrize(
    ("notation", "shape", "message"),
    [
        ("Conv3x5x4-FC3", (1, 8, 8), "Conv3x5x4"),
        ("Conv4x4x4-FC3", (1, 8, 8), "odd"),
        ("pool-FC3", (1, 8, 8), "pool"),
        ("784-30-3", (1, 8, 8), "784 inputs"),
        ("FC30-Conv3x3x4", (1, 8, 8), "channels"),
    ],
)
def test_what_cannot_be_read_is_named(notation: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(notation, shape)


def test_settings_that_make_no_network_are_refused() -> None:
    with pytest.raises(ValueError, match="hidden"):
        mlp([10, 2])
    with pytest.raises(ValueError, match="dimensions"):
        tidigits_net(dimensions=3)
