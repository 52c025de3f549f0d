"""A process of a DistributedDataParallel job; spawned, so it must be importable by name."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from networks import K, Looped, batch, grads, mse, spread
from torch import nn

from snntorch_brp import BRP, attach


def worker(rank: int, world: int, port: int, folder: str) -> None:
    """Train on a part of the batch, as rank ``rank`` of ``world``; the gradients go into a file."""
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=world)
    torch.manual_seed(rank)  # what is drawn here differs: the feedback must come from the generator
    net = nn.parallel.DistributedDataParallel(spread(Looped()))
    x, labels = batch(size=8)
    mine = slice(4 * rank, 4 * rank + 4)
    with attach(net, BRP(), num_classes=K, generator=torch.Generator().manual_seed(1)) as brp:
        for _ in range(2):  # the output layer is found out in the first
            net.zero_grad()
            brp.backward(mse(net(x[:, mine])[0], labels[mine]), labels[mine])
    torch.save(grads(net.module), Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()
