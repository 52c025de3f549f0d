"""What a batch must be before anything is done with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from snntorch_brp.encoding import check_labels
from snntorch_brp.runtime.distributed import world_size

_ODD = (torch.uint16, torch.uint32, torch.uint64)  # few operations know them


def pair(batch: Any) -> tuple[Any, Any]:
    """Samples and labels of what a loader yields.

    Raises:
        ValueError: If it is no pair.
    """
    if isinstance(batch, list | tuple) and len(batch) == 2:
        return batch[0], batch[1]
    got = f"{len(batch)} things" if isinstance(batch, list | tuple) else type(batch).__name__
    raise ValueError(
        f"the loader must yield pairs (x, labels), got {got}: wrap it, as in ((b[0], b[1]) for b in loader)"
    )


def next_batch(batches: Iterator[Any]) -> Any:
    """The next batch; None at the end, and where this process has no part of a batch.

    Raises:
        ValueError: If a loader yields None in a job of one process, where it would end the epoch.
    """
    end = object()
    batch = next(batches, end)
    if batch is None and world_size() == 1:
        raise ValueError("the loader yielded None for a batch: leave a bad one out, in the data set or the sampler")
    return None if batch is end else batch


def checked(
    x: Tensor, labels: Tensor, *, num_classes: int, device: torch.device, encoded: bool
) -> tuple[Tensor, Tensor]:
    """A batch on the device, the labels as int64.

    Args:
        x: The samples: for an encoder ``[B, *]``, or, ``encoded``, spikes ``[T, B, *]``.
        labels: Class numbers, integers ``[B]``.
        num_classes: Number of classes K.
        device: Where to bring both.
        encoded: Whether ``x`` is spikes already.

    Raises:
        ValueError: If the batch does not fit; the message says why.
    """
    if isinstance(labels, Tensor) and (labels.is_meta or labels.layout is not torch.strided):
        raise ValueError(f"labels must be a dense tensor with values, got layout {labels.layout} on {labels.device}")
    if isinstance(labels, Tensor) and labels.dtype in _ODD:
        labels = labels.long()
    check_labels(labels, num_classes)
    x = on_device(x, device)
    B, at = len(labels), 1 if encoded else 0
    if x.dim() <= at or x.shape[at] != B:
        wanted, cure = (
            (f"time first, [T, B={B}, ...]", "encoder=RateEncoder(steps=20) for images, or x.transpose(0, 1)")
            if encoded
            else (f"[B={B}, ...]", "as many samples as labels")
        )
        raise ValueError(f"x must be {wanted}, got shape {tuple(x.shape)}: give {cure}")
    return x, labels.to(device).long()


def on_device(x: Tensor, device: torch.device) -> Tensor:
    """Samples on the device.

    Raises:
        ValueError: If they are no dense tensor, are empty, or hold NaN or inf.
    """
    if not isinstance(x, Tensor):
        raise ValueError(f"x must be a tensor, got {type(x).__name__}: use torch.as_tensor(x)")
    if x.layout is not torch.strided or x.is_meta:
        raise ValueError(f"x must be a dense tensor with values, got layout {x.layout} on {x.device}: use x.to_dense()")
    if x.is_complex():
        raise ValueError(f"x must be real, got {x.dtype}: use x.abs(), or x.real")
    if not x.numel():
        raise ValueError(f"x is an empty batch, shape {tuple(x.shape)}")
    x = x.to(device)
    if not torch.isfinite(x).all():
        bad = int((~torch.isfinite(x)).sum())
        raise ValueError(f"x holds {bad} values that are NaN or inf, of {x.numel()}: clean the data")
    return x


def check_dtype(spikes: Tensor, like: Tensor) -> None:
    """Raise a ValueError unless the network's input is of the dtype of its weights."""
    if spikes.dtype is not like.dtype:
        raise ValueError(
            f"the network's weights are {like.dtype}, and it got {spikes.dtype}: use x.to({like.dtype}), or "
            "TensorDataset(x.float(), labels)"
        )
