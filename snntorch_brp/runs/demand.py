"""Memory that cannot be had is refused before it is asked for."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import nn

from snntorch_brp.models import network
from snntorch_brp.runs.config import RunConfig
from snntorch_brp.tasks.base import Task

COPIES = 4  # of every weight: itself, its gradient, and Adam's two moments
_BYTES = 4


def check_memory(config: RunConfig, task: Task) -> None:
    """Raise a ValueError if the weights, or the spikes of a batch, take more than all free memory.

    It is a lower bound: what is let through may still turn out too large.
    """
    free = available(config.device)
    if free is None:
        return
    try:
        with torch.device("meta"):
            net = network(config.model, task.input_shape, neuron=nn.Identity)  # a neuron knows no meta tensors
    except (RuntimeError, OverflowError, TypeError):  # numbers beyond 64 bits
        raise ValueError(f"the network {config.model} is too large for any memory") from None
    weights = COPIES * _BYTES * sum(p.numel() for p in net.parameters())
    # At every step the first layer's input and the output are kept; hidden layers may be run in parts of a batch.
    layers = [layer for layer in net if isinstance(layer, nn.Linear)]
    sizes = math.prod(task.input_shape) + sum(layer.out_features for layer in layers)
    spikes = _BYTES * config.steps * config.batch_size * sizes
    for need, what, cure in (
        (weights, f"the weights of {config.model} and of their optimizer", "--model"),
        (spikes, f"{config.steps} steps of {config.batch_size} samples", "--steps or --batch-size"),
    ):
        if need > free:
            raise ValueError(f"{what} take {need / 2**30:,.1f} GiB, and {free / 2**30:,.1f} GiB are free: lower {cure}")


def available(device: str) -> int | None:
    """Bytes that are free; None where the system does not say."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else None
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None
