"""Linear readers: what a linear classifier can read from the rates of each layer, which tells whether depth helps."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import TensorDataset

from snntorch_brp.places import over_places
from snntorch_brp.training import BRPTrainer

GRID = 4  # regions along each axis that a convolution's rates are pooled to
RIDGE = 0.3  # in parts of the mean variance of the features
BATCH = 250


class LinearReader:
    """Ridge regression from features to one-hot labels, in closed form: the argmax of its output is the class.

    Args:
        features: Of the samples that it learns from, ``[N, D]``.
        labels: Their class numbers, ``[N]``.
        num_classes: Number of classes K.
        ridge: Penalty, in parts of the mean variance of the features.

    Example:
        >>> x = torch.tensor([[0.0, 1.0], [0.1, 0.9], [1.0, 0.0], [0.9, 0.2]])
        >>> LinearReader(x, torch.tensor([0, 0, 1, 1]), num_classes=2).accuracy(x, torch.tensor([0, 0, 1, 1]))
        1.0
    """

    def __init__(self, features: Tensor, labels: Tensor, *, num_classes: int, ridge: float = RIDGE) -> None:
        self._mean = features.mean(0)
        x = features - self._mean
        y = F.one_hot(labels, num_classes).to(x.dtype)
        self._offset = y.mean(0)
        gram = x.T @ x
        gram.diagonal().add_(ridge * gram.diagonal().mean().clamp(min=1e-12))
        self._weight = torch.linalg.solve(gram, x.T @ (y - self._offset))

    def accuracy(self, features: Tensor, labels: Tensor) -> float:
        """Share of samples ``[N, D]`` that it reads right."""
        read = (features - self._mean) @ self._weight + self._offset
        return (read.argmax(1) == labels).float().mean().item()


def read_layers(trainer: BRPTrainer, learn: TensorDataset, judged: TensorDataset) -> Mapping[str, float]:
    """Accuracy of a linear reader behind each layer of a network, by the layer's name.

    Args:
        trainer: Holds the network, which is left as it is.
        learn: What the readers learn from.
        judged: What they are judged by.
    """
    (seen, labels), (new, truth) = (_rates(trainer, part) for part in (learn, judged))
    return {
        name: LinearReader(seen[name], labels, num_classes=trainer.num_classes).accuracy(new[name], truth)
        for name in seen
    }


def pooled_rates(samples: Tensor, encoder: Callable[[Tensor], Tensor]) -> Tensor:
    """Rates of what an encoder makes of samples ``[N, *]``, pooled as those of layers are, ``[N, D]``."""
    return torch.cat([over_places(encoder(x).mean(0), GRID) for x in samples.split(BATCH)])


def _rates(trainer: BRPTrainer, part: TensorDataset) -> tuple[dict[str, Tensor], Tensor]:
    """Pooled rates of every layer over all samples, ``[N, D]``, and the labels."""
    samples, labels = part.tensors
    found: dict[str, list[Tensor]] = {}
    for x in samples.split(BATCH):
        for name, activity in trainer.observe(trainer.encode(x, seed=0)).items():
            found.setdefault(name, []).append(over_places(activity.spikes.mean(0), GRID))
    return {name: torch.cat(parts) for name, parts in found.items()}, labels
