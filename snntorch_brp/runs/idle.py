"""Settings without an effect are told: who chooses one believes that it does something."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from snntorch_brp.propagation import Backprop, OutputOnly
from snntorch_brp.rules import trained_rule
from snntorch_brp.runs.config import RunConfig
from snntorch_brp.tasks.base import Task


def idle_settings(config: RunConfig, task: Task, net: nn.Module) -> Iterator[str]:
    """A line for every setting that was chosen and changes nothing.

    Args:
        config: The settings.
        task: The record of their task.
        net: The network.
    """
    rule = trained_rule(config.propagation)
    if isinstance(rule, Backprop | OutputOnly):
        reason = f"has no effect under {config.propagation}, which sends hidden layers no label"
        if config.consolidation != "pseudo-gradient":
            yield f"--consolidation {config.consolidation} {reason}"
        if config.regions is not None:
            yield f"--regions {config.regions} {reason}"
    elif config.regions is not None and not any(
        isinstance(m, nn.Conv1d | nn.Conv2d | nn.Conv3d) for m in net.modules()
    ):
        yield f"--regions {config.regions} has no effect: {config.model} has no convolutional layer"
    if config.hidden_lr is not None and isinstance(rule, OutputOnly):
        yield f"--hidden-lr {config.hidden_lr:g} has no effect under {config.propagation}: hidden layers never learn"
    if config.alpha != task.alpha and config.encoder == "direct":
        yield f"--alpha {config.alpha:g} has no effect with --encoder direct, which draws no spikes"


def _convolves(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
