"""The wide frozen layer that depth has to beat: whitened patches, thresholds, and a linear reader."""

from __future__ import annotations

import time
from collections.abc import Sequence

from torch import Tensor
from torch.utils.data import TensorDataset

from snntorch_brp.depth.outcome import Outcome
from snntorch_brp.depth.probes import LinearReader
from snntorch_brp.label_only.features import Features
from snntorch_brp.label_only.folds import Fold
from snntorch_brp.paper.lab import machine
from snntorch_brp.tasks.protocol import FrozenConv

WIDE_GRID = 2  # regions along each axis that rates are pooled to


def wide_reader(fold: Fold, channels: int, input_shape: Sequence[int]) -> Outcome:
    """Ridge regression from the pooled rates of a wide convolution, which nothing else learns of labels.

    Args:
        fold: The data.
        channels: Filters of the convolution, in pairs of both polarities.
        input_shape: Shape of one sample at one step.
    """
    start, size = time.process_time(), input_shape[-1]
    sizes = FrozenConv(channels=channels, kernel=5 if size > 16 else 3, pool=size // WIDE_GRID)
    features = Features(sizes, fold.encoder, fold.learn.tensors[0], both_polarities=True)

    def rates(part: TensorDataset) -> tuple[Tensor, Tensor]:
        return features.encode_counts(features.counts(part.tensors[0])).mean(0), part.tensors[1]

    seen, labels = rates(fold.learn)
    reader = LinearReader(seen, labels, num_classes=fold.num_classes, ridge=1e-2)
    known, validated, tested = (
        100 * reader.accuracy(*given) for given in ((seen, labels), rates(fold.validation), rates(fold.test))
    )
    seconds = round(time.process_time() - start, 2)
    return Outcome(curve=[[known, validated]], seconds=[seconds], test=tested, probe={}, machine=machine("cpu"))
