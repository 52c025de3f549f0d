"""What people plug in and look at: callbacks, TensorBoard, figures refreshed during the run."""

from __future__ import annotations

import importlib.util
import runpy
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from resumable import Noisy, trainer_of

from snntorch_brp.data.images import load_digits
from snntorch_brp.data.loader import batches, head
from snntorch_brp.runs import figures as figures_module
from snntorch_brp.runs.figures import RunFigures
from snntorch_brp.training.callbacks import Callback
from snntorch_brp.training.tensorboard import TensorBoard

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_callbacks_are_called_in_order() -> None:
    said: list[str] = []

    class Say(Callback):
        def on_fit_start(self, trainer: object) -> None:
            said.append("start")

        def on_step_end(self, trainer: object, result: object) -> None:
            said.append("step")

        def on_epoch_end(self, trainer: object, result: object) -> None:
            said.append("epoch")
            if said.count("epoch") == 2:
                trainer.stop("enough")  # type: ignore[attr-defined]

        def on_fit_end(self, trainer: object) -> None:
            said.append("end")

    trainer = trainer_of()
    trainer.fit(batches(Noisy(20), 10), epochs=9, callbacks=[Say()], progress=False)
    assert said == ["start", "step", "step", "epoch", "step", "step", "epoch", "end"]
    assert trainer.stopped == "enough"


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="TensorBoard is not installed")
def test_tensorboard_shows_curves_rates_and_rasters(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    numbers = []
    for callbacks in ([], [TensorBoard(tmp_path, x=torch.rand(4, 12), every=1)]):
        trainer = trainer_of()
        results = trainer.fit(batches(Noisy(20), 10), epochs=2, callbacks=callbacks, progress=False)
        numbers.append([result.row() for result in results])
    assert numbers[0] == numbers[1]  # looking changes nothing
    events = EventAccumulator(str(tmp_path)).Reload()
    tags = events.Tags()
    assert {"step/loss", "step/learning rate", "epoch/loss", "epoch/seconds"} <= set(tags["scalars"])
    assert [event.value for event in events.Scalars("epoch/loss")] == pytest.approx([row["loss"] for row in numbers[0]])
    assert tags["histograms"] == ["firing rate/2", "firing rate/5", "firing rate/7"]
    assert tags["images"] == ["raster/2", "raster/5", "raster/7"]


class Clock:
    """Stands still but where the test moves it."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


def test_figures_are_refreshed_but_not_too_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch takes a second, drawing 0.75 s: then 7.5 s must go by."""
    drawn: list[int] = []
    clock = Clock()
    save = figures_module.save_figure

    def slow(figure: Figure, path: Path) -> None:
        clock.now += 0.25
        save(figure, path)

    monkeypatch.setattr(figures_module, "time", clock)
    monkeypatch.setattr(figures_module, "save_figure", slow)

    class Epoch(Callback):
        def on_epoch_end(self, trainer: object, result: object) -> None:
            clock.now += 1.0

    class Counted(RunFigures):
        def draw(self, trainer: object) -> None:
            super().draw(trainer)  # type: ignore[arg-type]
            drawn.append(len(trainer.progress.results))  # type: ignore[attr-defined]

    from snntorch_brp import BRPTrainer, RateEncoder
    from snntorch_brp.models import mlp

    data = head(load_digits(train=True), 20)
    trainer = BRPTrainer(mlp([64, 10, 10]), num_classes=10, encoder=RateEncoder(3))
    figures = Counted(tmp_path, data, kind="training", title="", seed=0)
    trainer.fit(batches(data, 10), epochs=13, callbacks=[Epoch(), figures], progress=False)
    assert drawn == [1, 9, 13]  # at once, when there has been rest enough, and how it ended
    assert {path.stem for path in tmp_path.iterdir()} == {"learning_curve", "raster", "membrane"}


@pytest.mark.skipif(importlib.util.find_spec("lightning") is not None, reason="Lightning is installed")
def test_the_lightning_example_says_what_it_needs() -> None:
    with pytest.raises(SystemExit, match="pip install lightning"):
        runpy.run_path(str(EXAMPLES / "lightning_manual.py"), run_name="__main__")
