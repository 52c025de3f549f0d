"""From what a loader yields to what the network takes in: checked, on the device, encoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from snntorch_brp.encoding import check_labels
from snntorch_brp.runtime import distributed
from snntorch_brp.runtime.distributed import Share
from snntorch_brp.runtime.verdicts import insist

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
    if batch is None and distributed.world_size() == 1:
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
    if isinstance(labels, Tensor) and (labels.is_nested or labels.is_quantized):
        raise ValueError("labels must be a plain tensor of integers [B], got a nested or quantized one")
    if isinstance(labels, Tensor) and (labels.is_meta or labels.layout is not torch.strided):
        raise ValueError(f"labels must be a dense tensor with values, got layout {labels.layout} on {labels.device}")
    if isinstance(labels, Tensor) and labels.dtype in _ODD:
        labels = labels.long()
    if isinstance(labels, Tensor) and labels.numel() and (labels.is_floating_point() or labels.dim() > 1):
        raise ValueError(
            f"BRPTrainer trains classifiers, with one class number a sample: labels must be integers [B], got "
            f"{labels.dtype} of shape {tuple(labels.shape)}; use labels.long() or labels.argmax(1) for classes. For a "
            "label at every step, regression or autoencoders put attach(net, rule, num_classes=K) into a loop of your "
            "own: brp.backward(loss, targets) takes [T, B], [B, K] and [T, B, K], and encode_targets any other"
        )
    labels = check_labels(labels, num_classes)
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
    if x.is_nested or x.is_quantized:
        kind, cure = ("nested", "x.to_padded_tensor(0.0)") if x.is_nested else ("quantized", "x.dequantize()")
        raise ValueError(f"x must be a plain tensor, got a {kind} one: use {cure}")
    if x.layout is not torch.strided or x.is_meta:
        raise ValueError(f"x must be a dense tensor with values, got layout {x.layout} on {x.device}: use x.to_dense()")
    if x.is_complex():
        raise ValueError(f"x must be real, got {x.dtype}: use x.abs(), or x.real")
    if not x.numel():
        raise ValueError(f"x is an empty batch, shape {tuple(x.shape)}")
    x = x.detach().to(device)  # what made it is no part of the network, and learns nothing
    x = x.clone() if x.is_inference() else x  # which autograd does not take
    places = x.numel()
    insist((~torch.isfinite(x)).sum(), lambda bad: _tell_not_finite(bad, places))
    return x


def _tell_not_finite(bad: int, places: int) -> None:
    raise ValueError(f"x holds {bad} values that are NaN or inf, of {places}: clean the data")


class Intake:
    """Makes the network's input of what a loader yields.

    Args:
        net: The network.
        encoder: Maps a batch on the device to the network's input; None for data that is spikes already.
        num_classes: Number of classes K.
        loops_inside: Whether the network loops over time itself; it may want its input in any shape and dtype then.
    """

    def __init__(
        self, net: nn.Module, encoder: Callable[[Tensor], Tensor] | None, *, num_classes: int, loops_inside: bool
    ) -> None:
        if encoder is not None and (isinstance(encoder, type) or not callable(encoder)):
            raise TypeError(f"encoder must be a function of a batch, such as RateEncoder(steps=20), got {encoder!r}")
        self.net, self.encoder, self.num_classes, self.loops_inside = net, encoder, num_classes, loops_inside

    @property
    def device(self) -> torch.device:
        """Where the network is, and where batches are moved to."""
        return next(self.net.parameters()).device

    def part(self, batch: Any) -> tuple[tuple[Tensor, Tensor] | None, Share]:
        """A batch, checked and on the device, and which part it is of all processes' batch.

        Args:
            batch: The pair ``(x, labels)``; None where this process has no part.
        """
        if batch is None:
            return None, distributed.share(0, (), self.device)
        x, labels = checked(
            *pair(batch), num_classes=self.num_classes, device=self.device, encoded=self.encoder is None
        )
        return (x, labels), distributed.share(len(labels), x.shape[1:], self.device)

    def encoded(self, batch: tuple[Tensor, Tensor] | None, share: Share) -> Tensor | None:
        """The network's input for this process's part, ``[T, b, *]``; None where it has none."""
        x, weight = None if batch is None else batch[0], next(self.net.parameters())
        spikes = x if self.encoder is None else distributed.encode_share(self.encoder, x, share, like=weight)
        return None if x is None else self._fitting(spikes, share.rows.stop - share.rows.start)

    def encode(self, x: Tensor) -> Tensor:
        """The network's input for a whole batch without labels, ``[T, B, *]``.

        Raises:
            ValueError: If the batch or what the encoder makes of it does not fit; the message says why.
        """
        x = on_device(x, self.device)
        return self._fitting(x, None) if self.encoder is None else self._fitting(self.encoder(x), len(x))

    def _fitting(self, spikes: object, size: int | None) -> Tensor:
        if not isinstance(spikes, Tensor):
            raise ValueError(f"the encoder must give spikes [T, B, ...], got {type(spikes).__name__}: does it return?")
        spikes = spikes.detach()  # under either engine an encoder learns nothing
        if self.loops_inside:
            return spikes
        weight = next(self.net.parameters())
        if spikes.dtype is not weight.dtype:
            raise ValueError(
                f"the network's weights are {weight.dtype}, and it got {spikes.dtype}: use x.to({weight.dtype}), or "
                "TensorDataset(x.float(), labels)"
            )
        if spikes.dim() < 2 or size not in (None, spikes.shape[1]):
            raise ValueError(f"the encoder must give spikes [T, B={size}, ...], got shape {tuple(spikes.shape)}")
        return spikes
