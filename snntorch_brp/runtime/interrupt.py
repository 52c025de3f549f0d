"""Stop at a good moment instead of at once."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

logger = logging.getLogger(__name__)


@dataclass
class Interrupt:
    """Whether someone wants to stop."""

    requested: bool = False


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Inside the block, Ctrl-C and SIGTERM only set a flag; a second one ends it at once.

    Outside the main thread, where Python takes no signals, nothing changes.

    Example:
        >>> with interruptible() as interrupt:
        ...     interrupt.requested
        False
    """
    interrupt = Interrupt()

    def request(number: int, frame: FrameType | None) -> None:
        if interrupt.requested:
            raise KeyboardInterrupt
        interrupt.requested = True
        logger.warning("%s: stopping after this step", signal.Signals(number).name)

    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    previous = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
