"""A trained network, read from the folder of its run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from snntorch_brp.feedback import Feedback

if TYPE_CHECKING:
    from snntorch_brp.runs.config import RunConfig


@dataclass(frozen=True)
class TrainedRun:
    """What ``snntorch-brp train`` has made.

    Attributes:
        net: The network, in evaluation mode; it takes one step ``[B, *]`` a call.
        encoder: Maps samples ``[B, *]`` to the network's input ``[T, B, *]``.
        config: The settings of the run.
        feedback: The feedback matrices it was trained with.
    """

    net: nn.Module
    encoder: Callable[[Tensor], Tensor]
    config: RunConfig
    feedback: Feedback


def load(run_folder: str | Path, *, device: str = "cpu") -> TrainedRun:
    """The trained network of a run folder, checked against its checksum and its settings.

    Args:
        run_folder: What ``snntorch-brp train --out`` named.
        device: Where the network is brought to: "cpu", "cuda" or "auto".

    Raises:
        FileNotFoundError: If the folder holds no run, or no model.
        ValueError: If the settings or the model are damaged, or there is no such device.

    Example:
        >>> run = load("runs/digits")  # doctest: +SKIP
        >>> unroll(run.net, run.encoder(torch.rand(8, 1, 8, 8))).mean(0).argmax(1)  # doctest: +SKIP
    """
    from snntorch_brp.runs.config import RunConfig, resolve_device  # late: `import snntorch_brp` stays quick
    from snntorch_brp.runs.evaluate import trainer_of_run

    folder = Path(run_folder)
    config = replace(RunConfig.read(folder), device=resolve_device(device))
    trainer = trainer_of_run(config, folder)
    assert trainer.encoder is not None
    return TrainedRun(trainer.net.eval(), trainer.encoder, config, trainer.feedback)
