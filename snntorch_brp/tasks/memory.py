"""The delayed-memory task: was the probe the cue's symbol?"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from snntorch_brp.data.memory import CHANNELS, SYMBOLS, delayed_match
from snntorch_brp.tasks.base import Task, TrainTest

TRAIN, TEST = 2000, 1000


def memory_task(*, steps: int, device: str = "cpu") -> Task:
    """The task, with a delay of half the ``steps``."""
    shown = max(steps // 4, 1)

    def load(root: Path | None) -> TrainTest:
        train, test = (
            delayed_match(count, steps=steps, shown=shown, seed=seed) for count, seed in ((TRAIN, 1), (TEST, 2))
        )
        return TrainTest(train, test, "drawn anew, seeds 1 and 2")

    return Task(
        title=f"delayed match to sample, {SYMBOLS} symbols of {CHANNELS} channels, drawn by the package",
        short_title="delayed match to sample",
        load=load,
        files=None,
        input_shape=(SYMBOLS * CHANNELS,),
        num_classes=2,
        network="20-100-2",
        steps=steps,
        epochs=10,
        encoder=lambda steps, alpha: _time_first,
        rate_coded=False,
        draw=None,
        label_only=None,
        configure=memory_task,
    )


def _time_first(spikes: Tensor) -> Tensor:
    """``[B, T, *]`` to ``[T, B, *]``."""
    return spikes.transpose(0, 1)


MEMORY = memory_task(steps=12)
