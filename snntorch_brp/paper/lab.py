"""Trainings over rules and seeds, each kept as one json file: an interrupted or repeated command goes on from there."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch.utils.data import Dataset

from snntorch_brp.data.loader import batches, head
from snntorch_brp.paper.budgets import DVSGESTURE, Budget, Setting, Slot, find_data
from snntorch_brp.runs.config import usual_weights
from snntorch_brp.runs.run import TEST_BATCH, RunConfig, start_trainer
from snntorch_brp.runtime.files import write_whole
from snntorch_brp.tasks.base import Sets
from snntorch_brp.training import Callback, EpochResult, Trainer
from snntorch_brp.training.checkpoint import Checkpoints

logger = logging.getLogger(__name__)


class Probe(Callback):
    """A measurement that a training takes along; its findings are stored with the run.

    Attributes:
        name: Distinguishes it in the store.
        rows: What was found so far, for the json file; with the number of the epoch where it is measured in epochs.
    """

    name: ClassVar[str]

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def start(self, trainer: Trainer, sets: Sets) -> None:
        """Before the first epoch."""

    def finish(self, trainer: Trainer) -> None:
        """After the last epoch."""


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
        epochs: One row an epoch, as :meth:`snntorch_brp.training.EpochResult.row` gives it.
        found: The rows of the probe.
    """

    config: dict[str, Any]
    label: str
    title: str
    split: str
    train: int
    test: int
    machine: str
    epochs: list[dict[str, float]]
    found: Any = None  # list[dict[str, Any]] under a probe

    @property
    def accuracies(self) -> list[float]:
        """Test accuracy after each epoch, percent: what a Lab evaluates on after each epoch is the test set."""
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

    def seeds(self, setting: Setting) -> range:
        """The seeds that a mean is taken over."""
        return range(self.budget.task_seeds.get(setting.task, self.budget.seeds))

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
            epochs=epochs or budget.task_epochs.get(setting.task, budget.epochs),
            lr=budget.task_lr.get(setting.task, budget.lr),
            schedule=budget.schedule,
            batch_size=budget.batch_sizes.get(setting.task, budget.batch_size),
            seed=seed,
            device=self.device,
            limit_train=budget.train,
            limit_test=budget.test,
            options=options,
            weights="calibrated" if key in budget.calibrated else usual_weights(rule),
            validation=0.0,  # nothing is chosen here: as in the paper, all training data, and curves on the test set
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
            return _stored(path)
        start = time.perf_counter()
        run = self._train(config, setting, measurement, kept=path.with_suffix(".checkpoints"))
        write_whole(path, (json.dumps(asdict(run), indent=1) + "\n").encode())
        shutil.rmtree(path.with_suffix(".checkpoints"), ignore_errors=True)
        logger.info(
            "%s, %s, T = %d, seed %d: %.1f %% after epoch %d (%.0f s)",
            run.label, rule, config.steps, seed, run.accuracies[-1], config.epochs, time.perf_counter() - start,
        )  # fmt: skip
        return run

    def _train(self, config: RunConfig, setting: Setting, probe: Probe | None, *, kept: Path) -> Run:
        sets = self._load(config, setting)
        trainer = start_trainer(config, sets)
        callbacks: list[Callback] = []
        if probe is not None:
            probe.start(trainer, sets)
            callbacks.append(probe)
        if self.budget.checkpoints:
            checkpoints = Checkpoints(
                kept,
                keep=2,
                about=asdict(config),
                check=lambda about: config.check_same(RunConfig.of(about)),
            )
            if checkpoints.resume(trainer, device=config.device) is not None and probe is not None:
                stored = json.loads((kept / "probe.json").read_text())
                probe.rows = [row for row in stored if row["epoch"] < trainer.progress.epoch]
            callbacks += [*([] if probe is None else [_Findings(probe, kept)]), checkpoints]
        results = trainer.fit(
            batches(sets.train, config.batch_size, shuffle=True),
            epochs=config.epochs,
            validation=batches(sets.test, TEST_BATCH),
            callbacks=callbacks,
            progress=False,
        )
        if probe is not None:
            probe.finish(trainer)
        return Run(
            config=asdict(config),
            label=setting.label,
            title=setting.configured(steps=config.steps, device=config.device).title,
            split=sets.split,
            train=_size(sets.train),
            test=_size(sets.test),
            machine=machine(config.device),
            epochs=[result.row() for result in results],
            found=None if probe is None else probe.rows,
        )

    def _load(self, config: RunConfig, setting: Setting) -> Sets:
        key = (config.task, config.data, config.steps, tuple(config.options.items()))
        if key not in self._sets:
            task = setting.configured(steps=config.steps, device=config.device)
            self._sets = {key: task.load(setting.data)}  # one at a time: CIFAR-10 alone takes 740 MB
        sets = self._sets[key]
        return sets._replace(train=head(sets.train, config.limit_train), test=head(sets.test, config.limit_test))


class _Findings(Callback):
    """Keeps what a probe has found beside the checkpoints, and is called before them."""

    def __init__(self, probe: Probe, folder: Path) -> None:
        self.probe = probe
        self.folder = folder

    def on_epoch_end(self, trainer: Trainer, result: EpochResult) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / "probe.json", json.dumps(self.probe.rows).encode())


def _stored(path: Path) -> Run:
    """A finished training, read and checked."""
    cure = "remove the file, and the training is done anew"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): {cure}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no stored training: {cure}")
    for entry in fields(Run):
        if entry.name not in values and entry.name != "found":
            raise ValueError(f"{path} has no {entry.name!r}: {cure}")
        kinds = {"config": dict, "train": int, "test": int, "epochs": list, "found": list | None}
        if not isinstance(values.get(entry.name), kinds.get(entry.name, str)):
            raise ValueError(f"{path}: {entry.name!r} cannot be {values[entry.name]!r}: {cure}")
    unknown = sorted(set(values) - {entry.name for entry in fields(Run)})
    if unknown:
        raise ValueError(f"{path} has an unknown {unknown[0]!r}: {cure}")
    for row in values["epochs"]:
        if not isinstance(row, dict) or not isinstance(row.get("validation_accuracy"), int | float):
            raise ValueError(f"{path}: 'epochs' has a row without a validation_accuracy: {cure}")
    if not values["epochs"]:
        raise ValueError(f"{path}: 'epochs' is empty: {cure}")
    return Run(**values)


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
