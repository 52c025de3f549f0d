"""Training: mini-batches, Adam, a geometrically decaying learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ExponentialLR

from snntorch_brp.shifting.network import ShiftingNetwork
from snntorch_brp.shifting.spikes import SILENT, Events

Spikes = Tensor | Events


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast to learn.

    Attributes:
        epochs: Passes over the training set.
        batch_size: Samples in an update; None for all.
        lr: Learning rate of Adam (β = 0.9, 0.9) at the start.
        decay: Its factor after every epoch.
    """

    epochs: int = 400
    batch_size: int | None = None
    lr: float = 0.01
    decay: float = 0.995


def select(spikes: Spikes, rows: Tensor) -> Spikes:
    """Some samples of a batch."""
    if isinstance(spikes, Events):
        return Events(spikes.times[rows], spikes.synapses[rows], spikes.n_in)
    return spikes[rows]


def fit(
    net: ShiftingNetwork,
    spikes: Spikes,
    labels: Tensor,
    schedule: Schedule,
    *,
    generator: torch.Generator | None = None,
    transform: Callable[[Tensor], Tensor] | None = None,
    targets: Tensor | None = None,
) -> Iterator[float]:
    """Train, epoch by epoch; yields the accuracy that the network had on the samples when it met them.

    Args:
        net: The network.
        spikes: [N, N_in] spike times, or events of N samples.
        labels: [N], int64.
        schedule: How long and how fast.
        generator: Source of the order of the samples.
        transform: Applied to the spike times of every mini-batch, for augmentation.
        targets: [N, K], target times to learn; those of the labels when None.
    """
    optimizer = torch.optim.Adam(net.parameters(), lr=schedule.lr, betas=(0.9, 0.9))
    decay = ExponentialLR(optimizer, schedule.decay)
    for _ in range(schedule.epochs):
        right = 0
        order = torch.randperm(len(labels), generator=generator).to(labels.device)
        for rows in order.split(schedule.batch_size or len(order)):
            batch = select(spikes, rows)
            if transform is not None:
                assert isinstance(batch, Tensor)
                batch = transform(batch)
            z_out = net.learn(batch, (labels if targets is None else targets)[rows])
            optimizer.step()
            right += _right(z_out, labels[rows])
        decay.step()
        yield right / len(labels)


def accuracy(net: ShiftingNetwork, spikes: Spikes, labels: Tensor, *, batch_size: int = 500) -> float:
    """Share of samples whose earliest output is the class; a network that stays silent is wrong.

    Args:
        net: The network.
        spikes: Its input, as :func:`fit` takes it.
        labels: Class numbers ``[B]``.
        batch_size: How many samples are run at once.
    """
    rows = torch.arange(len(labels), device=labels.device).split(batch_size)
    return sum(_right(net(select(spikes, r)), labels[r]) for r in rows) / len(labels)


def _right(z_out: Tensor, labels: Tensor) -> int:
    earliest, answer = z_out.min(dim=1)
    return int(((answer == labels) & (earliest < SILENT)).sum())
