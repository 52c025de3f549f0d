"""How a network does on a data set, over all processes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from snntorch_brp.runtime import distributed
from snntorch_brp.training.bars import bar_of, length
from snntorch_brp.training.batch import Intake, next_batch
from snntorch_brp.training.executor import Executor
from snntorch_brp.training.results import Evaluation


def evaluate(loader: Iterable[Any], intake: Intake, executor: Executor, *, hidden: bool | None) -> Evaluation:
    """Run all batches of a loader through a network that is in evaluation mode.

    Args:
        loader: Yields ``(x, labels)``, or None where this process has no part of a batch.
        intake: Makes the network's input of what the loader yields.
        executor: Runs the network.
        hidden: Show no progress bar; None for one where there is a terminal.

    Raises:
        ValueError: If ``loader`` yields nothing, or a batch does not fit.
    """
    K = intake.num_classes
    sums = torch.zeros(K * K + 1, dtype=torch.double, device=intake.device)  # confusion, and the sum of losses
    with bar_of("validation", length(loader), hidden) as bar:
        batches = iter(loader)
        while True:
            batch, share = intake.part(next_batch(batches))
            if share.count == 0:
                break
            spikes = intake.encoded(batch, share)
            if batch is not None and spikes is not None:
                spikes, labels = executor.run(spikes), batch[1]
                pairs = labels * K + executor.rates(spikes).argmax(1)
                sums[:-1] += pairs.bincount(minlength=K * K)
                sums[-1] += executor.loss(spikes, labels).reshape(()) * len(labels)
            bar.update()
    sums = distributed.all_reduce_sum(sums).cpu()
    if not sums[:-1].any():
        raise ValueError("the loader yields no batches: is the data set empty, or the loader used up?")
    confusion = sums[:-1].long().view(K, K)
    return Evaluation(float(sums[-1] / confusion.sum()), confusion)
