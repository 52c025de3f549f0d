"""Several processes that train one network, each on its part of every batch, on torch.distributed.

What they share in a step is two small things: before it, how many samples each of them has; after it, one sum of
gradients, weighted by those numbers, which is the gradient that one process with all samples would have found, as long
as nothing compares samples: the trainer refuses rules and batch norms that do. All processes draw the same random
numbers for the whole batch and use their own rows, so a run means the same on any number of them. Without a process
group everything here is trivial.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

TIMEOUT = timedelta(seconds=50)  # a process that is gone is noticed within a minute
_MAX_DIM = 8


def is_distributed() -> bool:
    """Whether there is a process group."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Number of this process, 0 where it is the only one."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if is_distributed() else 1


def launched() -> bool:
    """Whether torchrun, or something like it, has started this process as one of several."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def is_main_process() -> bool:
    """Whether this is the process that is_main_process for all, also outside of a process group."""
    return not launched() or _from_launcher("RANK") == 0


def restarted() -> bool:
    """Whether torchrun has started the processes anew after one died."""
    return _restarts() > 0


def _restarts() -> int:
    return _from_launcher("TORCHELASTIC_RESTART_COUNT")


def _from_launcher(name: str) -> int:
    """A number that torchrun gives in the environment; 0 where it does not."""
    text = os.environ.get(name, "0")
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(
            f"the environment variable {name} must be a whole number, as torchrun sets it, got {text!r}: start with "
            "torchrun, or unset it"
        )
    return int(text)


@contextmanager
def process_group(device: str, *, timeout: timedelta = TIMEOUT) -> Iterator[torch.device]:
    """Join the processes that torchrun has started; alone, do nothing.

    Args:
        device: "cpu" (over gloo) or "cuda" (over nccl, one GPU a process).
        timeout: How long to wait for a process that does not answer.

    Yields:
        The device of this process.

    Raises:
        ValueError: If the environment says who is who in something else than numbers.
    """
    if not launched():
        yield torch.device(device)
        return
    for name in ("RANK", "WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT"):
        _from_launcher(name)
    own = torch.device(device)
    if own.type == "cuda":
        own = torch.device("cuda", _from_launcher("LOCAL_RANK"))
        torch.cuda.set_device(own)
    store, number, count = next(dist.rendezvous("env://", timeout=timeout))
    # torchrun keeps one store over restarts: without a name of its own, a new process reads the addresses of dead ones.
    store = dist.PrefixStore(f"attempt {_restarts()}", store)
    backend = "nccl" if own.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=timeout)
    try:
        yield own
    finally:
        dist.destroy_process_group()


@dataclass(frozen=True)
class Share:
    """This process's part of a batch.

    Attributes:
        count: Samples in the whole batch; 0 when no process has any.
        rows: Which of them are here.
        shape: Shape of one sample.
    """

    count: int
    rows: slice
    shape: tuple[int, ...]

    @property
    def weight(self) -> float:
        """Share of the samples that are here, 0..1."""
        return (self.rows.stop - self.rows.start) / self.count

    @property
    def whole(self) -> bool:
        """Whether all of them are here."""
        return self.rows.stop - self.rows.start == self.count


def share(count: int, shape: Sequence[int], device: torch.device) -> Share:
    """Agree on who has how much of the next batch.

    Args:
        count: Samples here.
        shape: Shape of one sample; of no importance without samples.
        device: Where the backend communicates.
    """
    if not is_distributed():
        return Share(count, slice(0, count), tuple(shape))
    mine = torch.zeros(2 + _MAX_DIM, dtype=torch.long, device=device)
    mine[: 2 + len(shape)] = torch.tensor([count, len(shape), *shape])
    everyone = [torch.empty_like(mine) for _ in range(world_size())]
    dist.all_gather(everyone, mine)
    rows = torch.stack(everyone).tolist()
    counts = [row[0] for row in rows]
    of_all = next((tuple(row[2 : 2 + row[1]]) for row in rows if row[0]), ())
    start = sum(counts[: rank()])
    return Share(sum(counts), slice(start, start + count), of_all)


def encode_share(encoder: Callable[[Tensor], Tensor], x: Tensor | None, part: Share, like: Tensor) -> Tensor:
    """Encode this process's samples with the noise that they would have in the whole batch.

    Args:
        encoder: Maps ``[B, *]`` to ``[T, B, *]``.
        x: The samples here, ``[b, *]``; None where there are none.
        part: Which they are.
        like: A tensor whose dtype and device to take without samples.

    Returns:
        Input spikes, ``[T, b, *]``.
    """
    if x is not None and part.whole:
        return encoder(x)
    whole = (like if x is None else x).new_zeros(part.count, *part.shape)
    if x is not None:
        whole[part.rows] = x
    return encoder(whole)[:, part.rows]


@contextmanager
def random_numbers_by_rank(step: int, device: torch.device) -> Iterator[None]:
    """Inside the block, each of several processes draws torch random numbers of its own; afterwards all go on alike."""
    if world_size() == 1:
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(hash((torch.initial_seed(), step, rank())))
        yield


def average_gradients(parameters: Iterable[Tensor], weight: float, *sums: Tensor | float) -> Sequence[Tensor | float]:
    """Make every gradient the weighted mean over the processes, and add up some numbers on the way.

    Args:
        parameters: The parameters, in the same order everywhere; those without a gradient anywhere keep none.
        weight: Weight of this process; the weights of all add up to 1.
        sums: Numbers to add up over the processes.

    Returns:
        The sums.
    """
    if not is_distributed():
        return sums
    learning = [p for p in parameters if p.requires_grad]
    widest = max((p.dtype for p in learning), key=lambda dtype: torch.finfo(dtype).bits)
    dtype = torch.promote_types(widest, torch.float32)
    held = torch.tensor([p.grad is not None for p in learning], dtype=dtype)
    here = [held.to(learning[0].device), *(torch.as_tensor(x).to(learning[0].device, dtype).view(1) for x in sums)]
    parts = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten().to(dtype) * weight for p in learning]
    flat = torch.cat([*parts, *here])
    dist.all_reduce(flat)
    *gradients, tail = flat.split([*(p.numel() for p in learning), len(learning) + len(sums)])
    totals = tail.tolist()
    for p, gradient, anywhere in zip(learning, gradients, totals, strict=False):
        p.grad = gradient.view_as(p).to(p.dtype) if anywhere else None
    return totals[len(learning) :]


def all_reduce_sum(values: Tensor) -> Tensor:
    """The sum over the processes."""
    if is_distributed():
        values = values.clone()
        dist.all_reduce(values)
    return values


def broadcast(tensors: Iterable[Tensor]) -> None:
    """Give every process the tensors of process 0."""
    if is_distributed():
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def broadcast_object(value: Any) -> Any:
    """What process 0 gives, everywhere; it must be trusted, since it is unpickled."""
    held = [value]
    if is_distributed():
        dist.broadcast_object_list(held, src=0)
    return held[0]


def agree(values: Mapping[str, Any], what: str) -> None:
    """See that all processes were given the same plain values.

    Args:
        values: By name; what JSON can hold.
        what: What they are, for the message.

    Raises:
        ValueError: On every process, with the name and the values of the first that differs.
    """
    if not is_distributed():
        return
    everyone: list[Any] = [None] * world_size()
    try:
        dist.all_gather_object(everyone, json.dumps(dict(values)))
        dist.barrier()  # nobody leaves, closing its connection, before all have heard from all
    except RuntimeError as error:
        raise ValueError(
            f"another process ended while the {what} were compared, or cannot be reached: its own message says why "
            f"({str(error).splitlines()[0]})"
        ) from error
    all_values = [json.loads(text) for text in everyone]
    for name in sorted(set().union(*all_values)):  # one process may have a setting that another leaves out
        found = [other.get(name) for other in all_values]
        other = next((number for number, value in enumerate(found) if value != found[0]), None)
        if other is not None:
            raise ValueError(
                f"the processes have different {what}: {name} is {found[0]!r} on rank 0 and {found[other]!r} on rank "
                f"{other}; start all of them with the same command"
            )
