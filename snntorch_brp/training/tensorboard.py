"""Training as TensorBoard shows it: curves, firing rates and rasters."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from torch import Tensor

from snntorch_brp.activity import Activity
from snntorch_brp.training.callbacks import Callback, Trainer
from snntorch_brp.training.results import EpochResult, StepResult

NEURONS = 200  # of a layer in a raster


def installed() -> bool:
    """Whether TensorBoard is there."""
    return importlib.util.find_spec("tensorboard") is not None


class TensorBoard(Callback):
    """Writes TensorBoard's event files: loss and learning rate by step, results by epoch, and what layers do.

    After every epoch one batch is run, and of each layer there is a histogram of the neurons' firing rates and a
    raster of the first sample's spikes, time to the right.

    Args:
        folder: Where the files go.
        x: A batch as the loader gives it; None for curves alone.
        every: Steps between two points of the curves by step.

    Raises:
        ImportError: If TensorBoard is not installed.

    Example:
        >>> trainer.fit(loader, epochs=5, callbacks=[TensorBoard(Path("run/tensorboard"))])  # doctest: +SKIP
    """

    def __init__(self, folder: Path, *, x: Tensor | None = None, every: int = 10) -> None:
        if not installed():
            raise ImportError("TensorBoard is not installed: pip install tensorboard")
        self.folder, self.x, self.every = folder, x, every
        self._writer: Any = None

    def on_fit_start(self, trainer: Trainer) -> None:
        """Open the files; what a resumed run will write again is hidden."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self.folder), purge_step=trainer.progress.step + 1)

    def on_step_end(self, trainer: Trainer, result: StepResult) -> None:
        """Loss, accuracy and learning rate."""
        step = trainer.progress.step
        if step % self.every == 0:
            self._writer.add_scalar("step/loss", result.loss, step)
            self._writer.add_scalar("step/accuracy", result.correct / result.count, step)
            self._writer.add_scalar("step/learning rate", trainer.optimizer.param_groups[0]["lr"], step)

    def on_epoch_end(self, trainer: Trainer, result: EpochResult) -> None:
        """The epoch's results, at its last step, and what the layers do."""
        step = trainer.progress.step
        for name, value in result.row().items():
            self._writer.add_scalar(f"epoch/{name}", value, step)
        self._writer.add_scalar("epoch/seconds", result.seconds, step)
        for name, activity in {} if self.x is None else self._activity(trainer).items():
            spikes = activity.spikes.flatten(2).float()
            self._writer.add_histogram(f"firing rate/{name}", spikes.mean((0, 1)), step)
            shown = spikes[:, 0, :: max(1, spikes.shape[2] // NEURONS)]
            self._writer.add_image(f"raster/{name}", 1 - shown.T, step, dataformats="HW")
        self._writer.flush()

    def on_fit_end(self, trainer: Trainer) -> None:
        """Close the files."""
        self._writer.close()

    def on_interrupt(self, trainer: Trainer) -> None:
        """Close the files."""
        self._writer.close()

    def _activity(self, trainer: Trainer) -> dict[str, Activity]:
        assert self.x is not None
        return trainer.observe(trainer.encode(self.x, seed=0))
