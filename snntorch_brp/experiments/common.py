"""Trainings over rules and seeds, each kept as one json file: an interrupted or repeated command goes on from there."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch.utils.data import Dataset

from snntorch_brp.data.loader import batches, head
from snntorch_brp.experiments.runs import TEST_BATCH, RunConfig, build_trainer
from snntorch_brp.experiments.settings import DVSGESTURE, Budget, Setting, Slot, find_data
from snntorch_brp.experiments.task import Sets
from snntorch_brp.trainer import BRPTrainer, Callback

logger = logging.getLogger(__name__)

RULES = {
    "brp": "TP_BRP",
    "error": "TP_err",
    "sign": "TP_sign",
    "reward-prediction": "RewardPrediction",
    "backprop": "pseudo-BP",
    "output-only": "OutputOnly",
}
COLORS = dict(zip(RULES, ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#333333", "#999999"), strict=True))

Row = dict[str, Any]


class Probe(Callback):
    """A measurement that a training takes along; its findings are stored with the run.

    Attributes:
        name: Distinguishes it in the store.
    """

    name: ClassVar[str]

    def start(self, trainer: BRPTrainer, sets: Sets) -> None:
        """Before the first epoch."""

    def found(self) -> Any:
        """What was found, once training has ended: anything that json can hold."""


@dataclass(frozen=True)
class Run:
    """A finished training, as it is stored.

    Attributes:
        config: Its settings.
        label: The data set, and what it stands in for.
        title: The data set, at length.
        split: How training and test set were parted.
        train: Number of training samples.
        test: Number of test samples.
        machine: What it ran on.
        epochs: One row an epoch, as :meth:`snntorch_brp.trainer.EpochResult.row` gives it.
        found: What the probe found.
    """

    config: dict[str, Any]
    label: str
    title: str
    split: str
    train: int
    test: int
    machine: str
    epochs: list[dict[str, float]]
    found: Any = None

    @property
    def accuracies(self) -> list[float]:
        """Test accuracy after each epoch, percent."""
        return [100 * row["validation_accuracy"] for row in self.epochs]


class Lab:
    """Where experiments are made: what data there is, how much to spend, and the store of finished trainings.

    Args:
        out: Folder of results; finished trainings lie in ``out/runs``.
        budget: How much to spend.
        data: Folders to look for data sets in.
        device: "cpu" or "cuda".
    """

    def __init__(self, out: Path, *, budget: Budget, data: Sequence[Path] = (), device: str = "cpu") -> None:
        self.out = out
        self.budget = budget
        self.device = device
        self._found = find_data(data)
        self._sets: dict[tuple[Any, ...], Sets] = {}
        (out / "runs").mkdir(parents=True, exist_ok=True)

    def settings(self, *slots: Slot) -> list[Setting]:
        """The slots that can be filled with the data that is there; gestures are simulated where there are none."""
        return [setting for slot in slots if (setting := self._fill(slot)) is not None]

    def missing(self, *slots: Slot) -> list[str]:
        """A line for each slot that cannot be filled."""
        return [
            f"{slot.name}: left out, no data ({' or '.join(slot.tasks)}); name its folder with --data"
            for slot in slots
            if self._fill(slot) is None
        ]

    def _fill(self, slot: Slot) -> Setting | None:
        for task in slot.tasks:
            if task == "digits":
                return Setting(slot, task, None)
            if task in self._found:
                return Setting(slot, task, self._found[task], simulated=_is_simulated(task, self._found[task]))
        if slot is not DVSGESTURE:
            return None
        folder = self.out / "simulated"
        try:
            from snntorch_brp.data.simulate import simulate_dvsgesture

            if not (folder / "DVSGesture").is_dir():
                logger.info("no recordings of an event camera named: simulating gestures")
                simulate_dvsgesture(folder)
            import tonic  # noqa: F401 (the recordings are read through it)
        except ImportError:
            return None
        return Setting(slot, "dvsgesture", folder, simulated=True)

    def seeds(self) -> range:
        """The seeds that a mean is taken over."""
        return range(self.budget.seeds)

    def config(
        self, setting: Setting, rule: str, seed: int, *, steps: int | None = None, epochs: int | None = None
    ) -> RunConfig:
        """The settings of one training, from the budget."""
        budget = self.budget
        task = setting.configured(steps=steps or budget.steps.get(setting.task), device=self.device)
        layout = setting.slot.options.get("layout")
        key = f"{setting.task} {layout}" if layout else setting.task
        options = {name: value for name, value in setting.slot.options.items() if name in task.options}
        return RunConfig(
            task=setting.task,
            data=None if setting.data is None else str(setting.data),
            model=budget.networks.get(key, task.network),
            propagation=rule,
            steps=steps or budget.steps.get(setting.task, task.steps),
            alpha=task.alpha,
            epochs=epochs or budget.epochs,
            lr=budget.lr,
            schedule=budget.schedule,
            batch_size=budget.batch_size,
            seed=seed,
            device=self.device,
            limit_train=budget.train,
            limit_test=budget.test,
            options=options,
        )

    def train(
        self,
        setting: Setting,
        rule: str,
        seed: int,
        *,
        steps: int | None = None,
        epochs: int | None = None,
        probe: Callable[[], Probe] | None = None,
    ) -> Run:
        """A training, from the store if it was done before.

        Args:
            setting: What to train on.
            rule: Name of the propagation.
            seed: Of everything that is drawn.
            steps: Time steps T; the task's own when None.
            epochs: The budget's when None.
            probe: Makes a measurement to take along.
        """
        config = self.config(setting, rule, seed, steps=steps, epochs=epochs)
        measurement = None if probe is None else probe()
        path = self.out / "runs" / f"{_name(config, measurement)}.json"
        if path.is_file():
            return Run(**json.loads(path.read_text()))
        start = time.perf_counter()
        run = self._train(config, setting, measurement)
        temporary = path.with_suffix(".part")  # so that an interruption leaves no half a file
        temporary.write_text(json.dumps(asdict(run), indent=1) + "\n")
        temporary.replace(path)
        logger.info(
            "%s, %s, T = %d, seed %d: %.1f %% after %d epochs (%.0f s)",
            run.label, RULES[rule], config.steps, seed, run.accuracies[-1], config.epochs, time.perf_counter() - start,
        )  # fmt: skip
        return run

    def _train(self, config: RunConfig, setting: Setting, probe: Probe | None) -> Run:
        sets = self._load(config, setting)
        torch.manual_seed(config.seed)
        trainer = build_trainer(config)
        if config.schedule == "cosine":
            steps = config.epochs * -(-_size(sets.train) // config.batch_size)
            trainer.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(trainer.optimizer, steps)
        if probe is not None:
            probe.start(trainer, sets)
        results = trainer.fit(
            batches(sets.train, config.batch_size, shuffle=True),
            epochs=config.epochs,
            validation=batches(sets.test, TEST_BATCH),
            callbacks=[] if probe is None else [probe],
            progress=False,
        )
        return Run(
            config=asdict(config),
            label=setting.label,
            title=setting.configured(steps=config.steps, device=config.device).title,
            split=sets.split,
            train=_size(sets.train),
            test=_size(sets.test),
            machine=machine(config.device),
            epochs=[result.row() for result in results],
            found=None if probe is None else probe.found(),
        )

    def _load(self, config: RunConfig, setting: Setting) -> Sets:
        key = (config.task, config.data, config.steps, tuple(config.options.items()))
        if key not in self._sets:
            task = setting.configured(steps=config.steps, device=config.device)
            self._sets = {key: task.load(setting.data)}  # one at a time: CIFAR-10 alone takes 740 MB
        sets = self._sets[key]
        return Sets(head(sets.train, config.limit_train), head(sets.test, config.limit_test), sets.split)


def told(runs: Sequence[Run]) -> Row:
    """What must stand beside every figure: data set, split, network, epochs, seeds, device."""
    first = runs[0]
    limited = ", limited by the budget" if first.config["limit_train"] is not None else ""
    return {
        "source": "measured",
        "data": first.label,
        "split": f"{first.split}; {first.train} train, {first.test} test{limited}",
        "network": first.config["model"],
        "T": first.config["steps"],
        "epochs": first.config["epochs"],
        "lr": f"{first.config['lr']:g} {first.config['schedule']}",
        "seeds": len(runs),
        "device": first.machine,
    }


def spent(runs: Sequence[Run]) -> str:
    """The data set and what training was given, in short."""
    first = runs[0]
    return f"{first.label} ({first.train:,} training samples, {first.config['epochs']} epochs, T = {first.config['steps']})"


def panels(count: int) -> tuple[Figure, list[Axes]]:
    """A figure with a panel each, two in a row, and room below for a legend."""
    columns = min(count, 2)
    figure, axes = plt.subplots(
        -(-count // columns), columns, figsize=(5.2 * columns, 3.7 * -(-count // columns) + 0.7), layout="constrained",
        squeeze=False,
    )  # fmt: skip
    for ax in axes.flat[count:]:
        ax.set_axis_off()
    for ax in axes.flat[:count]:
        ax.grid(alpha=0.3)
    return figure, list(axes.flat[:count])


def band(ax: Axes, x: Sequence[float], stats: Sequence[tuple[float, float]], style: str = "-", **line: Any) -> None:
    """A line of means and a band of one standard deviation around it."""
    means = [mean for mean, _ in stats]
    drawn = ax.plot(x, means, style, marker="o" if len(means) < 20 else None, ms=3, **line)
    low, high = ([mean + sign * sd for mean, sd in stats] for sign in (-1, 1))
    ax.fill_between(x, low, high, color=drawn[0].get_color(), alpha=0.15, linewidth=0)


def published(data: str, **values: Any) -> Row:
    """A row of the paper's, marked as such."""
    return {"source": "published", "data": data, **values}


def mean_and_spread(values: Iterable[float]) -> tuple[float, float]:
    """Mean and standard deviation (of the sample; NaN where there is one value)."""
    values = list(values)
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan


def quote(mean: float, spread: float, digits: int = 2) -> str:
    """A mean and its spread as text.

    Example:
        >>> quote(98.888, 0.1234), quote(98.888, math.nan, 1)
        ('98.89 ± 0.12', '98.9 (one seed)')
    """
    return f"{mean:.{digits}f} (one seed)" if math.isnan(spread) else f"{mean:.{digits}f} ± {spread:.{digits}f}"


def machine(device: str) -> str:
    """What computes, in a few words."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"cpu, {torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"


def _name(config: RunConfig, probe: Probe | None) -> str:
    """A file name that tells the run, with a hash of all that its numbers depend on."""
    values = {**config.key(), "data": None}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
    layout = f"-{config.options['layout']}" if "layout" in config.options else ""
    measured = f"-{probe.name}" if probe is not None else ""
    return (
        f"{config.task}{layout}-{config.propagation}-T{config.steps}-e{config.epochs}-s{config.seed}{measured}-{digest}"
    )


def _size(dataset: Dataset) -> int:
    return len(dataset)  # type: ignore[arg-type]


def _is_simulated(task: str, folder: Path) -> bool:
    if task != "dvsgesture":
        return False
    from snntorch_brp.data.events import is_simulated

    return is_simulated(folder)
