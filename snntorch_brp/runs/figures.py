"""The figures of a run, refreshed while it goes on."""

from __future__ import annotations

import io
import time
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch.utils.data import Dataset

from snntorch_brp import plots
from snntorch_brp.data.loader import batches
from snntorch_brp.runtime.files import write_whole
from snntorch_brp.training.callbacks import Callback, Trainer
from snntorch_brp.training.results import EpochResult

SHARE = 0.1  # of the time may go into refreshing


class RunFigures(Callback):
    """Draws learning curve, raster, membranes and confusion after epochs, but not so often that it slows training.

    Args:
        folder: Where to put them, as PNG.
        samples: A data set; its first sample is shown.
        kind: What it is, for the titles: "validation" or "training".
        title: What the run is.
        seed: Of the encoding and of the choice of neurons.
    """

    def __init__(self, folder: Path, samples: Dataset, *, kind: str, title: str, seed: int) -> None:
        self.folder, self.kind, self.title, self.seed = folder, kind, title, seed
        self._sample = next(iter(batches(samples, 1)))
        self._epoch = 0  # the last one drawn
        self._rest_until = 0.0

    def on_epoch_end(self, trainer: Trainer, result: EpochResult) -> None:
        """Draw, if the last time is long enough ago."""
        if time.perf_counter() >= self._rest_until:
            self.draw(trainer)

    def on_fit_end(self, trainer: Trainer) -> None:
        """Draw how it ended."""
        if self._epoch < trainer.progress.epoch - 1:
            self.draw(trainer)

    def draw(self, trainer: Trainer) -> None:
        """Draw all figures now."""
        start, results = time.perf_counter(), trainer.progress.results
        x, labels = self._sample
        sample = f"{self.title}: {self.kind} sample 0, class {int(labels[0])}"
        spikes = trainer.encode(x, seed=self.seed)
        activity = trainer.observe(spikes)
        hidden = list(activity)[-2:][0]  # where the output does not spike there may be a single layer
        figures = {
            "learning_curve": plots.learning_curve([result.row() for result in results], title=self.title),
            "raster": plots.spike_raster(activity, inputs=spikes, title=sample),
            "membrane": plots.membrane_traces(
                activity[hidden],
                threshold=float(torch.as_tensor(trainer.net.get_submodule(hidden).threshold).mean()),
                generator=torch.Generator().manual_seed(self.seed),
                title=f"{sample}, layer {hidden}",
            ),
        }
        if results[-1].validation is not None:
            figures["confusion"] = plots.confusion_matrix(
                results[-1].validation.confusion, title=f"{self.title}: {self.kind}, epoch {results[-1].epoch}"
            )
        for name, figure in figures.items():
            save_figure(figure, self.folder / f"{name}.png")
        self._epoch = results[-1].epoch
        now = time.perf_counter()
        self._rest_until = now + (now - start) / SHARE


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all, and close it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=120, format="png")
    plt.close(figure)
    write_whole(path, buffer.getvalue())
