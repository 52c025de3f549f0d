"""The paper's networks and its notation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from snntorch_brp.models import cifar10_net, convnet, dvsgesture_net, mlp, mnist_net, network, tidigits_net
from snntorch_brp.neurons import RefractoryLeaky
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
    ("notation", "names"),
    [
        ("Conv3x3x4-BN-M2-FC3", ["conv1", "conv1_bn", "pool1", "conv1_lif", "flatten", "fc1", "fc1_lif"]),
        ("Conv3x3x4-BN-LIF-M2-FC3", ["conv1", "conv1_bn", "conv1_lif", "pool1", "flatten", "fc1", "fc1_lif"]),
        ("Conv3x3x4-M2-S2-FC3", ["conv1", "pool1", "conv1_lif", "pool2", "flatten", "fc1", "fc1_lif"]),
        ("Conv3x3x4-S2-LIF-FC3-BN", ["conv1", "pool1", "conv1_lif", "flatten", "fc1", "fc1_bn", "fc1_lif"]),
        ("FC9-bn-fc3-lif", ["flatten", "fc1", "fc1_bn", "fc1_lif", "fc2", "fc2_lif"]),
    ],
)
def test_modules_stand_where_the_notation_has_them(notation: str, names: list[str]) -> None:
    net = network(notation, (2, 8, 8))
    assert list(dict(net.named_children())) == names
    assert net(torch.rand(5, 2, 8, 8)).shape == (5, 3)


def test_maxima_norms_and_standardized_weights_in_one_and_two_dimensions() -> None:
    square, flat = network("Conv3x3x4-WS-BN-M2-FC9-WS-FC3", (2, 8, 8)), network("Conv1x3x4-WS-BN-M2-FC3", (2, 8))
    kinds = [type(module).__name__ for module in square if not isinstance(module, RefractoryLeaky)]
    assert kinds == ["WSConv2d", "BatchNorm2d", "MaxPool2d", "Flatten", "WSLinear", "Linear"]
    kinds = [type(module).__name__ for module in flat if not isinstance(module, RefractoryLeaky)]
    assert kinds == ["WSConv1d", "BatchNorm1d", "MaxPool1d", "Flatten", "Linear"]


@pytest.mark.parametrize(
    ("notation", "shape", "message"),
    [
        ("BN-FC3", (1, 8, 8), "must stand behind a convolution"),
        ("WS-Conv3x3x4-FC3", (1, 8, 8), "must stand behind a convolution"),
        ("Conv3x3x4-BN-BN-FC3", (1, 8, 8), "'conv1_bn' stands twice"),
        ("Conv3x3x4-LIF-M2-LIF-FC3", (1, 8, 8), "write LIF once"),
        ("Conv3x3x4-M9-FC3", (1, 8, 8), "nothing is left behind"),
        ("Conv3x3x4-M0-FC3", (1, 8, 8), "cannot read layer 'M0'"),
        ("Conv3x3x4-BN", (1, 8, 8), "ends with a fully connected layer"),
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
