"""What several processes, each with its part of a batch, cannot compute as one would."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm

from snntorch_brp.consolidation import Consolidation
from snntorch_brp.propagation import Propagation


def check_shareable(net: nn.Module, propagation: Propagation, consolidation: Consolidation, processes: int) -> None:
    """Check that the gradients of parts of a batch add up to that of the whole.

    Args:
        net: The network.
        propagation: What is sent to its hidden layers.
        consolidation: How they learn from it.
        processes: Number of processes.

    Raises:
        ValueError: If a rule compares the samples of a batch, or a batch norm takes means over them.
    """
    if processes == 1:
        return
    for rule in (propagation, consolidation):
        if getattr(rule, "compares_samples", False):
            raise ValueError(
                f"{type(rule).__name__} compares the samples of a batch, and each of {processes} processes has only "
                "its part of them: train in one process, or choose a rule that looks at one sample at a time"
            )
    for name, module in net.named_modules():
        if isinstance(module, _BatchNorm) and not isinstance(module, SyncBatchNorm):
            raise ValueError(
                f"'{name}' is a {type(module).__name__}, which takes means over the samples of a batch, and each of "
                f"{processes} processes has only its part of them: train in one process, use nn.GroupNorm, or on GPUs "
                "torch.nn.SyncBatchNorm.convert_sync_batchnorm(net)"
            )
