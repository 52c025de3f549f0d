"""The layers that every rule trains on the frozen features of one fold, and their trainings, stored."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import TensorDataset

from snntorch_brp.data.loader import batches
from snntorch_brp.initialization import calibrate
from snntorch_brp.label_only.candidates import Candidate
from snntorch_brp.label_only.features import CALIBRATION_SAMPLES, Features, neuron
from snntorch_brp.label_only.folds import Fold
from snntorch_brp.paper.lab import Lab, machine
from snntorch_brp.paper.stored import number, stored_object, unusable
from snntorch_brp.runs.assemble import TEST_BATCH
from snntorch_brp.runs.identity import check_samples, fingerprint
from snntorch_brp.runtime.files import write_whole
from snntorch_brp.standardize import Standardize
from snntorch_brp.tasks.protocol import Protocol
from snntorch_brp.training import BRPTrainer

logger = logging.getLogger(__name__)

WEIGHT_DECAY = 0.3  # AdamW's; without it 10,000 images of CIFAR-10 are overfitted
OUTPUT_HALF_WIDTH = (
    2.0  # with the usual 0.5 an output neuron far below its threshold gets no gradient and never fires again
)
TRIAL_SAMPLES = 5_000  # training samples of a trial
TRIAL_EPOCHS = 5
VERSION = 2  # of what the stored trainings depend on beside their settings

Stage = Literal["trial", "curve", "test"]


class Outcome(NamedTuple):
    """A training: accuracy in percent after its last epoch, wall time, what computed.

    ``curve`` has the accuracy on the training samples while they were learned, and on the validation part, of every
    epoch, where it was asked for.
    """

    accuracy: float
    seconds: float
    machine: str
    curve: list[list[float]] | None = None


def read_outcome(path: Path) -> Outcome:
    """A stored training.

    Raises:
        ValueError: If the file is damaged or holds something else; the message says what, and what to do.
    """
    outcome = stored_object(path).get("outcome")
    if not isinstance(outcome, dict) or set(outcome) != set(Outcome._fields):
        raise unusable(path, f"its 'outcome' must have {', '.join(Outcome._fields)}")
    if not (number(outcome["accuracy"]) and number(outcome["seconds"]) and isinstance(outcome["machine"], str)):
        raise unusable(path, "'accuracy' and 'seconds' must be numbers, and 'machine' text")
    curve = outcome["curve"]
    rows = [] if curve is None else curve
    if not isinstance(rows, list) or not all(isinstance(r, list) and len(r) == 2 and all(map(number, r)) for r in rows):
        raise unusable(path, "'curve' must be a pair of numbers for each epoch")
    return Outcome(**outcome)


class FoldTrainings:
    """One fold of a task, and the trainings on it; its features are computed when they are first needed.

    Args:
        lab: Where trainings are stored.
        protocol: Settings of the study on this task.
        fold: Its data.
    """

    def __init__(self, lab: Lab, protocol: Protocol, fold: Fold) -> None:
        self.lab, self.protocol, self.fold = lab, protocol, fold

    def train(self, name: str, candidate: Candidate, lr: float, *, seed: int, stage: Stage) -> Outcome:
        """A training, from the store if it was done before.

        A "trial" is short and judged on the validation part; a "curve" is as long as what is tested, but leaves the
        validation part out and is judged on it after every epoch; a "test" is trained on all training data and judged
        on the test part, once.

        Args:
            name: The candidate's, for the store.
            candidate: The rule.
            lr: Learning rate at the start.
            seed: Of the head, the feedback and the order of samples.
            stage: What it is for.
        """
        settings = self.settings(name, lr, seed=seed, stage=stage)
        path = self.path(name, lr, seed=seed, stage=stage)
        if path.is_file():
            self._check_data(path)
            return read_outcome(path)
        outcome = self._train(candidate, lr, seed, stage)
        words = {"settings": settings, "samples": self.samples, "outcome": outcome._asdict()}
        write_whole(path, (json.dumps(words, indent=1) + "\n").encode())
        logger.info(
            "%s, %s of %s at %g, seed %d: %.2f %% (%.0f s)",
            self.fold.name, stage, name, lr, seed, outcome.accuracy, outcome.seconds,
        )  # fmt: skip
        return outcome

    def _check_data(self, path: Path) -> None:
        """Raise a ValueError if a stored training is of other data; older files do not say."""
        then = stored_object(path).get("samples")
        try:
            if then is not None:
                check_samples(then, self.samples)
        except ValueError as error:
            raise unusable(path, str(error)) from None

    @cached_property
    def samples(self) -> dict[str, str]:
        """The fingerprint of each part of the data."""
        return {name: fingerprint(getattr(self.fold, name)) for name in ("learn", "validation", "test")}

    def path(self, name: str, lr: float, *, seed: int, stage: Stage) -> Path:
        """The file of a training, whose name has a hash of all settings; arguments as of :meth:`train`."""
        settings = json.dumps(self.settings(name, lr, seed=seed, stage=stage), sort_keys=True)
        digest = hashlib.sha256(settings.encode()).hexdigest()[:8]
        return self.lab.out / "runs" / f"ladder-{self.fold.name}-{stage}-{name}-{lr:g}-s{seed}-{digest}.json"

    def settings(self, name: str, lr: float, *, seed: int, stage: Stage) -> dict[str, Any]:
        """What a training depends on, under the names that the first results were stored with."""
        protocol = self.protocol
        names = ("epochs", "steps", "hidden", "batch_size")
        settings = {"eye": asdict(protocol.conv), **{name: getattr(protocol, name) for name in names}}
        if stage == "trial":
            settings |= {"epochs": TRIAL_EPOCHS, "tried": TRIAL_SAMPLES}
        return settings | {
            "rung": name,
            "lr": lr,
            "seed": seed,
            "stage": stage,
            "fold": self.fold.name,
            "sizes": self.fold.sizes,
            "version": VERSION,
        }

    def _train(self, candidate: Candidate, lr: float, seed: int, stage: Stage) -> Outcome:
        train, judged = self._parts(stage)
        epochs = TRIAL_EPOCHS if stage == "trial" else self.protocol.epochs
        judging = batches(judged, TEST_BATCH)
        start = time.perf_counter()
        torch.manual_seed(seed)
        trainer = self._trainer(candidate, lr, train, epochs)
        results = trainer.fit(
            batches(train, self.protocol.batch_size, shuffle=True),
            epochs=epochs,
            validation=judging if stage == "curve" else None,
            progress=False,
        )
        curve = [[100 * r.accuracy, 100 * r.validation.accuracy] for r in results if r.validation is not None]
        accuracy = curve[-1][-1] if curve else 100 * trainer.evaluate(judging).accuracy
        return Outcome(accuracy, time.perf_counter() - start, machine(self.lab.device), curve or None)

    def _parts(self, stage: Stage) -> tuple[TensorDataset, TensorDataset]:
        """What is trained on, and what is judged by."""
        if stage == "test":
            return self.training, self.test
        known, whole = len(self.fold.learn), len(self.training)
        most = min(TRIAL_SAMPLES, known) if stage == "trial" else known
        return _rows(self.training, slice(most)), _rows(self.training, slice(known, whole))

    @cached_property
    def features(self) -> Features:
        """The frozen convolution, its filters and thresholds taken from the training part."""
        return Features(self.protocol.conv, self.fold.encoder, self.fold.learn.tensors[0])

    @cached_property
    def training(self) -> TensorDataset:
        """Spike counts of the training part, and of the validation part behind it."""
        parts = (self.fold.learn, self.fold.validation)
        samples, labels = (torch.cat([part.tensors[place] for part in parts]) for place in (0, 1))
        return self._counted(samples, labels)

    @cached_property
    def test(self) -> TensorDataset:
        """Spike counts of the test part."""
        return self._counted(*self.fold.test.tensors)

    def _counted(self, samples: Tensor, labels: Tensor) -> TensorDataset:
        start = time.perf_counter()
        counted = TensorDataset(self.features.counts(samples), labels)
        seconds, size = time.perf_counter() - start, self.features.size
        logger.info("%s: %d features a step of %d samples (%.0f s)", self.fold.name, size, len(labels), seconds)
        return counted

    def _trainer(self, candidate: Candidate, lr: float, train: TensorDataset, epochs: int) -> BRPTrainer:
        """Freshly drawn layers, their thresholds set on some samples, and their trainer."""
        hidden, classes = self.protocol.hidden, self.fold.num_classes
        head = nn.Sequential(
            Standardize(self.features.size),
            nn.Linear(self.features.size, hidden),
            neuron(),
            Standardize(hidden),
            nn.Linear(hidden, classes),
            neuron(half_width=OUTPUT_HALF_WIDTH),
        )
        calibrate(head, self.features.encode_counts(train.tensors[0][:CALIBRATION_SAMPLES]))
        head.to(self.lab.device)
        optimizer = torch.optim.AdamW(head.parameters(), lr=lr, weight_decay=WEIGHT_DECAY, fused=True)
        return BRPTrainer(
            head,
            num_classes=classes,
            propagation=candidate.propagation,
            consolidation=candidate.consolidation,
            optimizer=optimizer,
            scheduler=CosineAnnealingLR(optimizer, epochs * -(-len(train) // self.protocol.batch_size)),
            encoder=self.features.encode_counts,
            precision="bfloat16",
        )


def _rows(dataset: TensorDataset, rows: slice) -> TensorDataset:
    return TensorDataset(*(tensor[rows] for tensor in dataset.tensors))
