"""The ladder of label-only rules: every choice made on a validation part, the test set read once, at the end.

All rules train the same head, Linear - neurons - Linear - neurons, on what the same frozen convolution sees
(:mod:`snntorch_brp.experiments.eye`). First every rung is tried at every learning rate on a part of the training
data, and judged on the validation part. Then the best label-only rung, BRP as printed, pseudo-BP and a head whose
hidden layer stays random are trained anew on all training data, and tested.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import TensorDataset

from snntorch_brp.data.augment import RandomAffine
from snntorch_brp.data.loader import batches
from snntorch_brp.experiments.common import Lab, machine
from snntorch_brp.experiments.eye import SEEN, Eye, Look, leaky
from snntorch_brp.experiments.ladder_data import NOT_OURS, Fold, folds
from snntorch_brp.experiments.presentation import Row, mean_and_spread, quote
from snntorch_brp.experiments.report import Result
from snntorch_brp.experiments.rungs import BESIDE, RUNGS, Rung
from snntorch_brp.experiments.runs import TEST_BATCH
from snntorch_brp.experiments.settings import CIFAR10, DVSGESTURE, MNIST, TIDIGITS_2D, Setting
from snntorch_brp.files import write_whole
from snntorch_brp.initialization import calibrate
from snntorch_brp.standardize import Standardize
from snntorch_brp.trainer import BRPTrainer

logger = logging.getLogger(__name__)

SLOTS = (MNIST, CIFAR10, TIDIGITS_2D, DVSGESTURE)
RATES = (3e-4, 1e-3, 3e-3)  # learning rates tried


@dataclass(frozen=True)
class Climb:
    """How a task is climbed.

    Attributes:
        eye: The frozen convolution.
        epochs: Of the trainings that are tested.
        steps: Time steps T.
        hidden: Hidden neurons of the head.
        batch_size: Samples in a batch.
        copies: Changed copies of every training sample, beside it, in the trainings that are tested.
        change: How they are changed.
    """

    eye: Eye
    epochs: int
    steps: int = 6
    hidden: int = 1000
    batch_size: int = 50
    copies: int = 0
    change: RandomAffine = field(default_factory=RandomAffine)


CLIMBS = {
    "digits": Climb(Eye(32, 3, 2), 12, hidden=300),
    "mnist": Climb(Eye(128, 7, 4), 3, batch_size=100),
    "cifar10": Climb(Eye(128, 5, 8), 10, batch_size=100),
    "tidigits": Climb(Eye(64, 5, 4), 15),
    "fsdd": Climb(Eye(64, 5, 4), 15),
    "dvsgesture": Climb(Eye(64, 5, 4), 15, steps=20, batch_size=20),
    "nmnist": Climb(Eye(64, 5, 4), 15, steps=20, batch_size=20),
}
WEIGHT_DECAY = 0.3  # AdamW's; 10,000 images of CIFAR-10 are learned by heart without
OUTPUT_REACH = 2.0  # a class whose neuron fell far below its threshold would never be heard of again with the usual 0.5
TRIED = 5_000  # training samples of a trial
TRIAL_EPOCHS = 5
QUICK_CHANNELS, QUICK_HIDDEN = 16, 100  # the sizes of --budget quick
VERSION = 2  # of what the stored trainings depend on beside their settings


class Outcome(NamedTuple):
    """A training: accuracy in percent after its last epoch (validation or test), wall time, what computed."""

    accuracy: float
    seconds: float
    machine: str


def reproduce(lab: Lab) -> Result:
    """Climb on every task that there is data for."""
    settings = lab.settings(*SLOTS)
    figure, axes = plt.subplots(len(settings), 1, figsize=(9, 3.6 * len(settings)), layout="constrained", squeeze=False)
    rows: list[Row] = []
    verdict = []
    for ax, setting in zip(axes.flat, settings, strict=True):
        trials, tests = _climb(lab, setting)
        rows += [*trials, *tests]
        verdict.append(_verdict(setting, tests))
        _draw(ax, setting, trials, tests)
    notes = [
        f"Validation: one seed, at most {TRIED:,} training samples, {TRIAL_EPOCHS} epochs, every rule at its best "
        f"learning rate of {', '.join(f'{lr:g}' for lr in RATES)}; this alone chooses. Test: read once, after the "
        "last epoch of a training on training and validation part together. The frozen filters are the same for all "
        "rules and seeds; seeds differ in the head, the feedback and the order of samples.",
        *lab.missing(*SLOTS),
    ]
    return Result("ladder", "label-only rules, chosen by validation", figure, rows, verdict, notes)


def _climb(lab: Lab, setting: Setting) -> tuple[list[Row], list[Row]]:
    """The trials of a task, best first, and the tests of what they chose."""
    climb = _climb_of(setting, quick=lab.budget.name == "quick")
    ways = [_Way(lab, climb, fold) for fold in folds(lab, setting, steps=climb.steps)]
    about: Row = {
        "source": "measured",
        "data": setting.label,
        "split": f"{_split(ways)}; {ways[0].fold.sizes}",
        "network": f"{climb.eye}, frozen, then FC{climb.hidden}-FC{ways[0].fold.num_classes}",
        "coding": ways[0].fold.coding,
        "T": climb.steps,
        "batch": climb.batch_size,
    }
    trials = [
        _row(about, "validation", TRIAL_EPOCHS, name, lr, [way.train(name, lr, seed=0, trial=True) for way in ways])
        for name in RUNGS
        for lr in RATES
    ]
    trials.sort(key=lambda row: row["accuracy"], reverse=True)
    best = next(row for row in trials if row["label only"])
    tests = []
    for name in dict.fromkeys((best["name"], *BESIDE)):
        lr = next(row["lr"] for row in trials if row["name"] == name)
        outcomes = [way.train(name, lr, seed=seed, trial=False) for way in ways for seed in range(lab.budget.seeds)]
        row = _row(about, "test", climb.epochs, name, lr, outcomes)
        tests.append({**row, "seeds": lab.budget.seeds})
    return trials, tests


def _split(ways: Sequence[_Way]) -> str:
    if len(ways) == 1:
        return ways[0].fold.split
    return f"each of {len(ways)} speakers held out in turn, validation by another"


def _climb_of(setting: Setting, *, quick: bool) -> Climb:
    climb = CLIMBS[setting.task]
    if not quick:
        return climb
    eye = replace(climb.eye, channels=QUICK_CHANNELS)
    return replace(climb, eye=eye, hidden=QUICK_HIDDEN, epochs=TRIAL_EPOCHS)


def _row(about: Row, stage: str, epochs: int, name: str, lr: float, outcomes: Sequence[Outcome]) -> Row:
    rung = RUNGS[name]
    mean, spread = mean_and_spread(outcome.accuracy for outcome in outcomes)
    return {
        **about,
        "stage": stage,
        "epochs": epochs,
        "seeds": 1,
        "name": name,
        "rule": rung.title,
        "label only": rung.label_only,
        "lr": lr,
        "accuracy": mean,
        "sd": spread,
        "trainings": len(outcomes),
        "seconds each": sum(outcome.seconds for outcome in outcomes) / len(outcomes),
        "device": outcomes[0].machine,
    }


class _Way:
    """One fold of a task, and the trainings on it; what the eye sees is looked at when it is first needed."""

    def __init__(self, lab: Lab, climb: Climb, fold: Fold) -> None:
        self.lab, self.climb, self.fold = lab, climb, fold

    @cached_property
    def look(self) -> Look:
        """The eye, its filters and thresholds taken from the training part."""
        return Look(self.climb.eye, self.fold.encoder, self.fold.learn.tensors[0])

    @cached_property
    def training(self) -> TensorDataset:
        """Spike counts of the training part, the validation part behind it, and changed copies of both behind these."""
        parts, climb = (self.fold.learn, self.fold.validation), self.climb
        samples, labels = map(torch.cat, zip(*(part.tensors for part in parts), strict=True))
        draw = torch.Generator().manual_seed(NOT_OURS)
        changed = [climb.change(samples, generator=draw) for _ in range(climb.copies)]
        return self._seen(torch.cat([samples, *changed]), labels.repeat(1 + climb.copies))

    @cached_property
    def test(self) -> TensorDataset:
        """Spike counts of the test part."""
        return self._seen(*self.fold.test.tensors)

    def _seen(self, samples: Tensor, labels: Tensor) -> TensorDataset:
        start = time.perf_counter()
        seen = TensorDataset(self.look.at(samples), labels)
        spent, features = time.perf_counter() - start, self.look.features
        logger.info("%s: %d features a step of %d samples (%.0f s)", self.fold.name, features, len(labels), spent)
        return seen

    def train(self, name: str, lr: float, *, seed: int, trial: bool) -> Outcome:
        """A training, from the store if it was done before."""
        settings = self._settings(trial=trial) | {
            "rung": name,
            "lr": lr,
            "seed": seed,
            "trial": trial,
            "fold": self.fold.name,
            "sizes": self.fold.sizes,
            "version": VERSION,
        }
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
        stage = "trial" if trial else "test"
        path = self.lab.out / "runs" / f"ladder-{self.fold.name}-{stage}-{name}-{lr:g}-s{seed}-{digest}.json"
        if path.is_file():
            return Outcome(**json.loads(path.read_text())["outcome"])
        outcome = self._train(RUNGS[name], lr, seed, trial=trial)
        words = {"settings": settings, "outcome": outcome._asdict()}
        write_whole(path, (json.dumps(words, indent=1) + "\n").encode())
        logger.info(
            "%s, %s of %s at %g, seed %d: %.2f %% (%.0f s)",
            self.fold.name, stage, name, lr, seed, outcome.accuracy, outcome.seconds,
        )  # fmt: skip
        return outcome

    def _settings(self, *, trial: bool) -> dict[str, Any]:
        """What of the climb a training depends on."""
        climb = asdict(self.climb)
        if not trial:
            return climb
        return climb | {"epochs": TRIAL_EPOCHS, "copies": 0, "change": None, "tried": TRIED}

    def _train(self, rung: Rung, lr: float, seed: int, *, trial: bool) -> Outcome:
        known = len(self.fold.learn)
        if trial:
            train = _rows(self.training, slice(min(TRIED, known)))
            judged, epochs = _rows(self.training, slice(known, known + len(self.fold.validation))), TRIAL_EPOCHS
        else:
            train, judged, epochs = self.training, self.test, self.climb.epochs
        start = time.perf_counter()
        torch.manual_seed(seed)
        trainer = self._trainer(rung, lr, train, epochs)
        trainer.fit(batches(train, self.climb.batch_size, shuffle=True), epochs=epochs, progress=False)
        evaluation = trainer.evaluate(batches(judged, TEST_BATCH))
        return Outcome(100 * evaluation.accuracy, time.perf_counter() - start, machine(self.lab.device))

    def _trainer(self, rung: Rung, lr: float, train: TensorDataset, epochs: int) -> BRPTrainer:
        """A fresh head, its thresholds set on some samples, and its trainer."""
        hidden, classes = self.climb.hidden, self.fold.num_classes
        head = nn.Sequential(
            Standardize(self.look.features),
            nn.Linear(self.look.features, hidden),
            leaky(),
            Standardize(hidden),
            nn.Linear(hidden, classes),
            leaky(reach=OUTPUT_REACH),
        )
        calibrate(head, self.look.encode_counts(train.tensors[0][:SEEN]))
        head.to(self.lab.device)
        optimizer = torch.optim.AdamW(head.parameters(), lr=lr, weight_decay=WEIGHT_DECAY, fused=True)
        return BRPTrainer(
            head,
            num_classes=classes,
            propagation=rung.propagation,
            consolidation=rung.consolidation,
            optimizer=optimizer,
            scheduler=CosineAnnealingLR(optimizer, epochs * -(-len(train) // self.climb.batch_size)),
            encoder=self.look.encode_counts,
            precision="bfloat16",
        )


def _rows(dataset: TensorDataset, rows: slice) -> TensorDataset:
    return TensorDataset(*(tensor[rows] for tensor in dataset.tensors))


def _verdict(setting: Setting, tests: Sequence[Row]) -> str:
    best, *beside = tests
    others = "; ".join(f"{row['rule']} {quote(row['accuracy'], row['sd'])}" for row in beside)
    return (
        f"{setting.label} ({best['network']}; {best['split']}): best by validation {best['rule']}, "
        f"{quote(best['accuracy'], best['sd'])} % on the test set; beside it {others}."
    )


def _draw(ax: Axes, setting: Setting, trials: Sequence[Row], tests: Sequence[Row]) -> None:
    """A bar for each rule's validation accuracy, a star for each tested one."""
    best = {row["name"]: row for row in reversed(trials)}  # trials are sorted: the best learning rate stays
    names = sorted(best, key=lambda name: best[name]["accuracy"])
    colors = ["#9467bd" if RUNGS[name].label_only else "#999999" for name in names]
    ax.barh([RUNGS[name].title for name in names], [best[name]["accuracy"] for name in names], color=colors, alpha=0.7)
    for row in tests:
        ax.errorbar(row["accuracy"], row["rule"], xerr=row["sd"], marker="*", ms=10, color="gold",
                    markeredgecolor="black", ecolor="black")  # fmt: skip
    low = min(row["accuracy"] for row in (*trials, *tests))
    ax.set_xlim(max(0, low - 5), None)
    ax.set_xlabel("accuracy, %; bars: trials, validation (purple: label only); stars: test")
    ax.set_title(f"{setting.label}\n{tests[0]['network']}, T = {tests[0]['T']}", fontsize=10)
