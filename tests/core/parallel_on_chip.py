"""Several processes on a device that is not the CPU, over gloo: what one process on the CPU finds.

Not collected by itself, as placement_on_chip.py.
"""

from __future__ import annotations

import os

import pytest
import torch
from chip import CHIP, CPU, chip
from networks import K, Looped, batch, grads, mse, spread
from together import forked, pipelined, train
from torch import nn

from snntorch_brp import BRP, attach
from snntorch_brp.fused import layers
from snntorch_brp.neurons import unwrapped
from snntorch_brp.runtime import distributed

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def forked_well(count, run):
    """In ``count`` processes; also a single one, since a process that has learned beside a chip cannot be forked."""
    codes, _ = forked(count, run)
    assert codes == [0] * count


def on_chip(run):
    """Run something where there is a chip, all its parameters there."""
    with pytest.MonkeyPatch.context() as patch, chip():
        patch.setattr(layers, "check_network", lambda net: None)  # a parameter there is of a class of its own
        run()


def check_equal(one, other):
    """Two files of weights agree up to sums in another order, over some twenty steps of Adam or momentum."""
    one, other = (torch.load(path, weights_only=False) for path in (one, other))
    assert one.keys() == other.keys()
    for name, value in one["net"].items():
        torch.testing.assert_close(other["net"][name], value, rtol=1e-3, atol=1e-4)
    return one, other


@pytest.mark.parametrize("engine", ["attach", "fused"])
def test_trainers_share_a_device_each(engine, tmp_path):
    forked_well(1, lambda: train(tmp_path / "cpu", engine))
    forked_well(2, lambda: on_chip(lambda: train(tmp_path / "chip", engine, device=CHIP)))
    for rank in range(2):
        check_equal(tmp_path / "cpu" / "rank0.pt", tmp_path / "chip" / f"rank{rank}.pt")


def test_a_pipeline_hands_spikes_from_device_to_device(tmp_path):
    forked_well(1, lambda: pipelined(tmp_path / "cpu"))
    forked_well(2, lambda: on_chip(lambda: pipelined(tmp_path / "chip", CHIP)))
    one, other = check_equal(tmp_path / "cpu" / "rank0.pt", tmp_path / "chip" / "rank0.pt")
    assert other["losses"] == pytest.approx(one["losses"], rel=1e-4)


def distributed_data_parallel(folder, device):
    """Under PyTorch's wrapper and attach, the gradients of a loop of one's own."""
    with distributed.process_group("cpu"):
        net = spread(Looped()).to(device)
        if distributed.world_size() > 1:
            net = nn.parallel.DistributedDataParallel(net)
        x, labels = (part.to(device) for part in batch(size=8))
        mine = slice(4 * distributed.rank(), 4 * distributed.rank() + 8 // distributed.world_size())
        with attach(net, BRP(), num_classes=K, generator=torch.Generator().manual_seed(1)) as brp:
            for _ in range(2):  # the output layer is found out in the first
                net.zero_grad()
                brp.backward(mse(net(x[:, mine])[0], labels[mine]), labels[mine])
        folder.mkdir(exist_ok=True)
        torch.save({"net": grads(unwrapped(net))}, folder / f"rank{distributed.rank()}.pt")


def test_distributed_data_parallel_and_attach(tmp_path):
    forked_well(1, lambda: distributed_data_parallel(tmp_path / "cpu", CPU))
    forked_well(2, lambda: on_chip(lambda: distributed_data_parallel(tmp_path / "chip", CHIP)))
    for rank in range(2):
        check_equal(tmp_path / "cpu" / "rank0.pt", tmp_path / "chip" / f"rank{rank}.pt")
