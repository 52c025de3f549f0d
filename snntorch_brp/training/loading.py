"""A saved state is taken over as a whole or not at all."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def unchanged_on_error(trainer: Any) -> Iterator[None]:
    """If the block raises, weights, feedback, optimizer and schedule are what they were before it.

    Args:
        trainer: A :class:`snntorch_brp.BRPTrainer`.
    """
    feedback = trainer.attached.feedback
    parts = [trainer.net, trainer.optimizer, *([] if trainer.scheduler is None else [trainer.scheduler])]
    before = [copy.deepcopy(part.state_dict()) for part in parts]
    matrices = {name: value.clone() for name, value in feedback._buffers.items()}
    try:
        yield
    except BaseException:
        for part, state in zip(parts, before, strict=True):
            part.load_state_dict(state)
        feedback._buffers.clear()
        feedback._buffers.update(matrices)
        raise
