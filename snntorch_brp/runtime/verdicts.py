"""Conditions whose answers lie on a device, asked for all at once: each question alone would wait for a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor


class Verdicts:
    """What is not known yet, in the order in which it was asked."""

    def __init__(self) -> None:
        self._open: list[tuple[Tensor, Callable[[int], None]]] = []

    def add(self, faults: Tensor, tell: Callable[[int], None]) -> None:
        """Ask whether ``faults``, a scalar, is 0; else ``tell`` will be called with it, and raise."""
        self._open.append((faults, tell))

    def settle(self, *values: Tensor | float) -> list[float]:
        """Wait for the device, once; the first fault is told.

        Args:
            values: Scalars that are wanted, too.

        Returns:
            The values.
        """
        asked, self._open = self._open, []
        questions = [faults for faults, _ in asked]
        unknown = [x for x in (*questions, *values) if isinstance(x, Tensor)]
        answers = iter(_read(unknown))
        for _, tell in asked:
            if faults := next(answers):
                tell(int(faults))
        return [next(answers) if isinstance(value, Tensor) else value for value in values]


_running: ContextVar[Verdicts | None] = ContextVar("verdicts that are gathered", default=None)


def insist(faults: Tensor, tell: Callable[[int], None]) -> None:
    """See that ``faults``, a scalar, is 0: at once, or on a device :func:`together` with others, later.

    Args:
        faults: A number of faults, or whether there is one.
        tell: Called with their number if there are any; it raises. Until then all that it holds is kept.
    """
    running = _running.get()
    if running is not None and faults.device.type != "cpu":
        running.add(faults, tell)
    elif number := int(faults):
        tell(number)


def verdicts_are_open() -> bool:
    """Whether answers of devices are gathered here, so that what is wrong may pass :func:`insist` for now."""
    return _running.get() is not None


@contextmanager
def together() -> Iterator[Verdicts]:
    """Gather what is asked inside the block, and settle it at its end; a block within another leaves that to it."""
    outer = _running.get()
    if outer is not None:
        yield outer
        return
    verdicts = Verdicts()
    token = _running.set(verdicts)
    try:
        yield verdicts
    finally:
        _running.reset(token)
        verdicts.settle()  # also after an error: what was wrong before may be why


def _read(scalars: Sequence[Tensor]) -> list[float]:
    if not scalars:
        return []
    device = next((x.device for x in scalars if x.device.type != "cpu"), scalars[0].device)
    return torch.stack([x.detach().to(device, torch.float64) for x in scalars]).tolist()
