"""Layers on different processes, as a pipeline that only runs forward.

Under a label-only rule a layer needs nothing from the layers after it. So a process can run its layers on a batch, let
them learn, hand the spikes on and take the next batch, while the next process works on the last one. No gradient ever
comes back, nothing waits for anything but its own input, and no weight is out of date: each layer sees the batches in
their order, with the weights that it has learned from all batches before, just as in one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from snntorch_brp.encoding import check_labels
from snntorch_brp.feedback import Feedback
from snntorch_brp.fused import FusedEngine
from snntorch_brp.propagation import BRP, Propagation
from snntorch_brp.runtime import distributed
from snntorch_brp.runtime.verdicts import together
from snntorch_brp.training.results import StepResult

_DTYPES = sorted({value for value in vars(torch).values() if isinstance(value, torch.dtype)}, key=str)
_MAX_DIM = 8


class Head(NamedTuple):
    """What is sent before a batch of spikes, so that the next stage knows what is coming.

    Attributes:
        dtype: Of the spikes: what the next layer takes in best, which depends on the processor.
        shape: Of the spikes, sample-major, ``[B, T, *]``.
        sample: Shape of one sample of the data, before the first layer.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    sample: tuple[int, ...]

    def pack(self, device: torch.device) -> Tensor:
        """As numbers, always the same count."""
        numbers = [1 + _DTYPES.index(self.dtype), len(self.shape), *self.shape, len(self.sample), *self.sample]
        return torch.tensor(numbers + [0] * (_HEAD - len(numbers)), device=device)

    @classmethod
    def unpack(cls, numbers: Tensor) -> Head | None:
        """The inverse of :meth:`pack`; None for zeros, which say that there is no more."""
        code, dims, *rest = numbers.tolist()
        if code == 0:
            return None
        sample_dims, *sample = rest[dims:]
        return cls(_DTYPES[code - 1], tuple(rest[:dims]), tuple(sample[:sample_dims]))


_HEAD = 3 + 2 * _MAX_DIM


class Pipeline:
    """One stage of a sequential network that is trained across the processes of a group, some layers on each.

    All processes make it alike, of the same network. The first reads the data, the last knows the results.

    Args:
        net: A network that the fused engine runs.
        num_classes: Number of classes K.
        optimizer: Makes the stage's optimizer from its parameters, such as ``torch.optim.Adam``.
        propagation: A label-only rule; ``BRP()`` when None.
        stages: Number of layers on each process; as equal as can be when None.
        encoder: Maps a batch to spikes ``[T, B, *]``; None for data that is spikes already.
        loss: Loss of the output spikes ``[T, B, K]`` and the labels ``[B]``.
        generator: Source of the feedback matrices' seed; that of the first process counts.

    Raises:
        ValueError: If the rule needs the output, the network does not qualify, or the stages do not fit it.

    Example:
        >>> net = mlp([64, 100, 100, 10])
        >>> pipeline = Pipeline(net, num_classes=10, optimizer=torch.optim.Adam, loss=rate_mse)  # doctest: +SKIP
        >>> for result in pipeline.train(loader):  # doctest: +SKIP
        ...     print(result.loss)
        >>> pipeline.gather()  # now each process has the whole network  # doctest: +SKIP
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        num_classes: int,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        loss: Callable[[Tensor, Tensor], Tensor],
        propagation: Propagation | None = None,
        stages: Sequence[int] | None = None,
        encoder: Callable[[Tensor], Tensor] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        self.propagation = propagation or BRP()
        if self.propagation.needs_output or not self.propagation.local:
            raise ValueError(
                f"{type(self.propagation).__name__} needs what comes after a layer, so layers cannot go ahead: use a "
                "label-only rule, such as BRP() or RewardPrediction()"
            )
        self.rank, self.world_size = distributed.rank(), distributed.world_size()
        self.last = self.rank == self.world_size - 1
        self.net = net
        self.device = next(net.parameters()).device
        feedback = Feedback(num_classes, generator=generator)
        seed = feedback.seed.to(self.device)
        distributed.broadcast([*net.state_dict().values(), seed])
        feedback.seed.copy_(seed)
        self.encoder = encoder
        self.num_classes = num_classes
        self.engine = FusedEngine(net, self.propagation, num_classes=num_classes, loss_fn=loss, feedback=feedback)
        self.places = split(len(self.engine.layers), self.world_size, stages)
        what = {"network": str(net), "stages": [len(places) for places in self.places], "rule": str(self.propagation)}
        distributed.agree(what, "pipelines")
        self.optimizer = optimizer(self._parameters(self.rank))
        self._sample: tuple[int, ...] = ()  # shape of one sample of the running batch
        self._sending: list[list[tuple[Any, Tensor]]] = []  # what is on its way, kept until it has arrived

    def _parameters(self, rank: int) -> list[nn.Parameter]:
        layers = [self.engine.layers[place] for place in self.places[rank]]
        return [p for layer in layers for part in (layer.synapse.modules, layer.neuron) for p in part.parameters()]

    def train(self, loader: Iterable[Sequence[Tensor]] = ()) -> Iterator[StepResult]:
        """Train one epoch; call it on every process.

        Args:
            loader: The batches ``(x, labels)``; looked at in the first process alone.

        Yields:
            Each step's result in the last process; nothing in the others.
        """
        self.net.train()
        for x, labels in self._arriving(loader):
            self.optimizer.zero_grad()
            x, result = self._learn(x, labels)
            if not self.last:
                self._hand_on(x, labels)
            self.optimizer.step()
            if result is not None:
                yield result
        if not self.last:
            self._end()

    def _learn(self, x: Tensor, labels: Tensor) -> tuple[Tensor, StepResult | None]:
        """Run the layers of this stage and fill their gradients; gives what the next stage takes, or the result."""
        label = self.propagation.label(labels, self.num_classes, len(x), torch.get_default_dtype())
        with together() as verdicts:
            for place in self.places[self.rank]:
                if place < len(self.engine.layers) - 1:
                    x = self.engine.learn_hidden(place, x, label)
                else:
                    loss, y = self.engine.learn_output(x, labels)
                    value, right = verdicts.settle(loss, (y.argmax(1) == labels).sum())
                    return x, StepResult(value, int(right), len(labels))
        return x, None

    def _arriving(self, loader: Iterable[Sequence[Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches for this stage: from the loader, or from the stage before."""
        if self.rank == 0:
            for x, labels in loader:
                check_labels(labels, self.num_classes)
                x, labels = x.to(self.device), labels.to(self.device).long()
                x = x if self.encoder is None else self.encoder(x)
                self.engine.prepare(x)
                self._sample = tuple(x.shape[2:])
                yield self.engine.cast_input(x), labels
            return
        while (batch := self._receive()) is not None:
            yield batch

    def _hand_on(self, x: Tensor, labels: Tensor) -> None:
        """Send a batch to the next stage, without waiting for it to take it."""
        rows = x.transpose(0, 1).contiguous()  # sample-major, as it lies in memory
        head = Head(rows.dtype, tuple(rows.shape), self._sample).pack(self.device)
        self._send(head, labels, rows.view(torch.uint8))

    def _send(self, *tensors: Tensor) -> None:
        while len(self._sending) > 1:  # the stage before must not run away
            self._arrived(self._sending.pop(0))
        self._sending.append([(dist.isend(tensor, self.rank + 1), tensor) for tensor in tensors])

    def _arrived(self, batch: Sequence[tuple[Any, Tensor]]) -> None:
        for work, _ in batch:
            work.wait()

    def _end(self) -> None:
        """Tell the next stage that there is no more, and wait until it has it all."""
        self._send(torch.zeros(_HEAD, dtype=torch.long, device=self.device))
        while self._sending:
            self._arrived(self._sending.pop(0))

    def _receive(self) -> tuple[Tensor, Tensor] | None:
        before, device = self.rank - 1, self.device
        numbers = torch.zeros(_HEAD, dtype=torch.long, device=device)
        dist.recv(numbers, before)
        head = Head.unpack(numbers)
        if head is None:
            return None
        self._sample = head.sample
        B, T = head.shape[:2]
        labels = torch.empty(B, dtype=torch.long, device=device)
        rows = torch.empty(head.shape, dtype=head.dtype, device=device)
        dist.recv(labels, before)
        dist.recv(rows.view(torch.uint8), before)
        weight = next(self.net.parameters())
        self.engine.prepare(torch.empty(T, B, *head.sample, dtype=weight.dtype, device="meta"))
        return rows.transpose(0, 1), labels

    def gather(self) -> None:
        """Give every process the weights of all stages."""
        for rank in range(self.world_size):
            for p in self._parameters(rank):
                if distributed.is_distributed():
                    dist.broadcast(p.data, src=rank)


def split(layers: int, parts: int, stages: Sequence[int] | None = None) -> list[range]:
    """Which layers go to which of ``parts`` processes.

    Raises:
        ValueError: If there are fewer layers than processes, or ``stages`` is no split of them.

    Example:
        >>> split(5, 2), split(5, 2, (1, 4))
        ([range(0, 3), range(3, 5)], [range(0, 1), range(1, 5)])
    """
    least, more = divmod(layers, parts)
    counts = list(stages) if stages is not None else [least + (part < more) for part in range(parts)]
    if len(counts) != parts or sum(counts) != layers or min(counts) < 1:
        raise ValueError(f"{layers} layers cannot go to {parts} processes as {counts}: each needs at least one")
    ends = [sum(counts[: part + 1]) for part in range(parts)]
    return [range(end - count, end) for count, end in zip(counts, ends, strict=True)]
