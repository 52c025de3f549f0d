"""Trainings over rules and seeds, each stored as one json file: a repeated command goes on from there."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch.utils.data import Dataset

from snntorch_brp.data.loader import batches, head
from snntorch_brp.paper.budgets import Budget
from snntorch_brp.paper.datasets import DatasetInUse, PaperDataset
from snntorch_brp.paper.stored import Run, read_stored, shown, stored_name, unusable
from snntorch_brp.runs.assemble import TEST_BATCH, start_trainer
from snntorch_brp.runs.config import RunConfig, usual_weights
from snntorch_brp.runs.folder import locked
from snntorch_brp.runs.holdout import hold_back
from snntorch_brp.runs.identity import about_run, check_about, check_samples, samples_of
from snntorch_brp.runtime.files import write_whole
from snntorch_brp.tasks.base import Task, TrainTest
from snntorch_brp.tasks.files import find_data
from snntorch_brp.tasks.registry import TASKS
from snntorch_brp.training import Callback, EpochResult, Trainer
from snntorch_brp.training.checkpoint import Checkpoints

logger = logging.getLogger(__name__)


class Probe(Callback):
    """A measurement that a training takes along; its findings are stored with the run.

    Attributes:
        name: Distinguishes it in the store.
        keys: What every row holds, and of which type.
        rows: What was found so far, for the json file; with the number of the epoch where it is measured in epochs.
    """

    name: ClassVar[str]
    keys: ClassVar[Mapping[str, Any]]  # of every row, with the type (or union of types) of the value

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def start(self, trainer: Trainer, sets: TrainTest) -> None:
        """Before the first epoch."""

    def finish(self, trainer: Trainer) -> None:
        """After the last epoch."""

    def check(self, rows: Any, path: Path) -> None:
        """Raise a ValueError if rows from a file are not this measurement's."""
        if not rows:
            raise unusable(path, "'found' holds no row")
        for row in rows:
            for key, kind in self.keys.items():
                if not isinstance(row.get(key), kind):
                    raise unusable(path, f"'found' has a row whose {key!r} is {shown(row.get(key))}")


class NotFinishedError(ValueError):
    """A training is not in the store, where nothing is to be trained."""


class Plan(NamedTuple):
    """What one training is: its settings, and the record of its task, configured once and handed on."""

    config: RunConfig
    task: Task


class Lab:
    """Trains what figures need: knows what data there is and how much to train, and stores finished trainings.

    Args:
        out: Folder of results; finished trainings lie in ``out/runs``.
        budget: How much training a figure is given.
        data: Folders to look for data sets in.
        device: "cpu" or "cuda".
        finished: Take finished trainings alone, and train nothing.
    """

    def __init__(
        self, out: Path, *, budget: Budget, data: Sequence[Path] = (), device: str = "cpu", finished: bool = False
    ) -> None:
        self.out = out
        self.finished = finished
        self.budget = budget
        self.device = device
        self._found = find_data(data)
        self._sets: dict[tuple[Any, ...], TrainTest] = {}
        (out / "runs").mkdir(parents=True, exist_ok=True)

    def datasets(self, *wanted: PaperDataset) -> list[DatasetInUse]:
        """What is used for each data set of the paper; those that there is nothing for are left out."""
        return [dataset for paper in wanted if (dataset := self._find(paper)) is not None]

    def left_out(self, *wanted: PaperDataset) -> list[str]:
        """A line for each data set of the paper that there is no data for."""
        return [
            f"{paper.name}: left out, no data ({' or '.join(paper.tasks)}); name its folder with --data"
            for paper in wanted
            if self._find(paper) is None
        ]

    def _find(self, paper: PaperDataset) -> DatasetInUse | None:
        for name in paper.tasks:
            if name in self._found:
                return DatasetInUse(paper, name, self._found[name], simulated=TASKS[name].simulated(self._found[name]))
            if not TASKS[name].needs_data:
                return DatasetInUse(paper, name, None)
        return self._simulate(paper)

    def _simulate(self, paper: PaperDataset) -> DatasetInUse | None:
        simulation = TASKS[paper.task].simulation
        if simulation is None:
            return None
        folder = self.out / "simulated"
        try:
            simulation.reader()
            if not simulation.found_in(folder):
                logger.info("no data for %s: making %s", paper.name, simulation.title)
                simulation.make(folder)
        except ImportError:
            return None
        return DatasetInUse(paper, paper.task, folder, simulated=True)

    def folders(self, *tasks: str) -> dict[str, Path | None]:
        """The folder of each task that there is data for, by name; None for one that needs no folder."""
        return {name: self._found.get(name) for name in tasks if name in self._found or not TASKS[name].needs_data}

    def seeds(self, dataset: DatasetInUse) -> range:
        """The seeds that a mean is taken over."""
        own = None if self.budget.same_seeds else self._configured(dataset).override(self.budget.name).seeds
        return range(own or self.budget.seeds)

    def long_epochs(self, dataset: DatasetInUse) -> int | None:
        """Epochs of Table III, where they are not the budget's."""
        return None if self.budget.same_epochs else self._configured(dataset).override(self.budget.name).long_epochs

    def _configured(self, dataset: DatasetInUse, steps: int | None = None) -> Task:
        return dataset.configured(steps=steps, device=self.device)

    def plan(
        self,
        dataset: DatasetInUse,
        rule: str,
        seed: int,
        *,
        steps: int | None = None,
        epochs: int | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> Plan:
        """What one training is, from the budget and what the task does otherwise; arguments as in :meth:`train`."""
        budget, task = self.budget, self._configured(dataset)
        own = task.override(budget.name)
        T = steps or own.steps or task.steps
        if task.steps != T:
            task = self._configured(dataset, T)
        config = RunConfig(
            task=dataset.task,
            data=None if dataset.data is None else str(dataset.data),
            model=own.network or task.network,
            propagation=rule,
            steps=T,
            alpha=task.alpha,
            epochs=epochs or (None if budget.same_epochs else own.epochs) or budget.epochs,
            lr=own.lr or budget.lr,
            schedule=budget.schedule,
            batch_size=own.batch_size or budget.batch_size,
            seed=seed,
            device=self.device,
            limit_train=budget.train,
            limit_test=budget.test,
            options=dict(dataset.paper.options),
            weights="calibrated" if own.calibrated else usual_weights(rule),
            validation=0.0,  # nothing is chosen here: as in the paper, all training data, and curves on the test set
        )
        return Plan(replace(config, **(changes or {})), task)

    def train(
        self,
        dataset: DatasetInUse,
        rule: str,
        seed: int,
        *,
        steps: int | None = None,
        epochs: int | None = None,
        changes: Mapping[str, Any] | None = None,
        probe: Callable[[], Probe] | None = None,
    ) -> Run:
        """A training, from the store if it was done before.

        Its accuracies are those on the test set, or on the part of the training set that ``validation`` holds back.

        Args:
            dataset: What to train on.
            rule: Name of the propagation.
            seed: Of everything that is drawn.
            steps: Time steps T; the budget's or the task's own when None.
            epochs: The budget's when None.
            changes: Other settings that differ from the budget's, by their names in :class:`RunConfig`.
            probe: Makes a measurement to take along.

        Raises:
            NotFinishedError: If it is not in the store, and nothing is to be trained.
        """
        plan = self.plan(dataset, rule, seed, steps=steps, epochs=epochs, changes=changes)
        config, measurement = plan.config, None if probe is None else probe()
        path = self.out / "runs" / f"{stored_name(config, None if measurement is None else measurement.name)}.json"
        if path.is_file():
            stored = read_stored(path)
            self._check_data(stored, plan, path)
            if measurement is not None:
                measurement.check(stored.found, path)
            return stored
        if self.finished:
            raise NotFinishedError(f"{path} is not there: this training is not finished; leave out --finished to do it")
        start = time.perf_counter()
        kept = path.with_suffix(".checkpoints")
        with locked(kept) if self.budget.checkpoints else nullcontext():
            run = self._train(plan, dataset, measurement, kept=kept)
        write_whole(path, (json.dumps(asdict(run), indent=1) + "\n").encode())
        shutil.rmtree(kept, ignore_errors=True)
        logger.info(
            "%s, %s, T = %d, seed %d: %.1f %% after epoch %d (%.0f s)",
            run.label, rule, config.steps, seed, run.accuracies[-1], config.epochs, time.perf_counter() - start,
        )  # fmt: skip
        return run

    def trained(self, dataset: DatasetInUse, rule: str, **settings: Any) -> list[Run]:
        """The trainings of all seeds, arguments as in :meth:`train`; those that are not finished are left out."""
        runs = []
        for seed in self.seeds(dataset):
            with suppress(NotFinishedError):
                runs.append(self.train(dataset, rule, seed, **settings))
        return runs

    def _train(self, plan: Plan, dataset: DatasetInUse, probe: Probe | None, *, kept: Path) -> Run:
        config = plan.config
        sets = self._load(plan)
        samples = _samples(sets)
        judged, held_out = sets.test, ""
        if sets.validation is not None:
            judged, held_out = sets.validation, f", {config.validation:.0%} of the training part held out to judge by"
        trainer = start_trainer(config, sets, task=plan.task)
        callbacks: list[Callback] = []
        if probe is not None:
            probe.start(trainer, sets)
            callbacks.append(probe)
        if self.budget.checkpoints:
            checkpoints = Checkpoints(
                kept,
                keep=2,
                about=about_run(config, samples),
                check=lambda found: check_about(found, config, samples),
            )
            if checkpoints.resume(trainer, device=config.device) is not None and probe is not None:
                stored = json.loads((kept / "probe.json").read_text())
                probe.rows = [row for row in stored if row["epoch"] < trainer.progress.epoch]
            callbacks += [*([] if probe is None else [_Findings(probe, kept)]), checkpoints]
        results = trainer.fit(
            batches(sets.train, config.batch_size, shuffle=True),
            epochs=config.epochs,
            validation=batches(judged, TEST_BATCH),
            callbacks=callbacks,
            progress=False,
        )
        if probe is not None:
            probe.finish(trainer)
        return Run(
            config=asdict(config),
            label=dataset.label,
            title=plan.task.title,
            split=sets.split + held_out,
            train=_size(sets.train),
            test=_size(judged),
            machine=machine(config.device),
            epochs=[result.row() for result in results],
            found=None if probe is None else probe.rows,
            samples=samples,
        )

    def _check_data(self, stored: Run, plan: Plan, path: Path) -> None:
        """Raise a ValueError if a stored training is of other data; they are read only where the folder is another."""
        if stored.samples is None or stored.config["data"] == plan.config.data:
            return
        try:
            check_samples(stored.samples, _samples(self._load(plan)))
        except ValueError as error:
            raise unusable(path, str(error)) from None

    def _load(self, plan: Plan) -> TrainTest:
        config = plan.config
        root = None if config.data is None else Path(config.data)
        key = (config.task, config.data, config.steps, tuple(config.options.items()))
        if key not in self._sets:
            self._sets = {key: plan.task.load(root)}  # one at a time: CIFAR-10 alone takes 740 MB
        sets = self._sets[key]
        sets = sets._replace(train=head(sets.train, config.limit_train), test=head(sets.test, config.limit_test))
        return hold_back(sets, config.validation, seed=config.seed)


class _Findings(Callback):
    """Keeps what a probe has found beside the checkpoints, and is called before them."""

    def __init__(self, probe: Probe, folder: Path) -> None:
        self.probe = probe
        self.folder = folder

    def on_epoch_end(self, trainer: Trainer, result: EpochResult) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / "probe.json", json.dumps(self.probe.rows).encode())


def _samples(sets: TrainTest) -> dict[str, str]:
    """Fingerprints of what a training reads: where it is judged on held-out training data, nothing of the test set."""
    return samples_of(sets if sets.validation is None else sets._replace(test=None))  # type: ignore[arg-type]


def machine(device: str) -> str:
    """What computes, in a few words."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"cpu, {torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"


def _size(dataset: Dataset) -> int:
    return len(dataset)  # type: ignore[arg-type]
