"""One task of the ladder: the head that every rule trains on what the frozen eye sees, and its trainings, stored."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import TensorDataset

from snntorch_brp.data.loader import batches
from snntorch_brp.initialization import calibrate
from snntorch_brp.label_only.candidates import Rung
from snntorch_brp.label_only.features import SEEN, Eye, Look, leaky
from snntorch_brp.label_only.folds import Fold
from snntorch_brp.paper.lab import Lab, machine
from snntorch_brp.runs.run import TEST_BATCH
from snntorch_brp.runtime.files import write_whole
from snntorch_brp.standardize import Standardize
from snntorch_brp.training import BRPTrainer

logger = logging.getLogger(__name__)

WEIGHT_DECAY = 0.3  # AdamW's; 10,000 images of CIFAR-10 are learned by heart without
OUTPUT_REACH = 2.0  # a class whose neuron fell far below its threshold would never be heard of again with the usual 0.5
TRIED = 5_000  # training samples of a trial
TRIAL_EPOCHS = 5
VERSION = 2  # of what the stored trainings depend on beside their settings

Stage = Literal["trial", "curve", "test"]


@dataclass(frozen=True)
class Climb:
    """How a task is climbed.

    Attributes:
        eye: The frozen convolution.
        epochs: Of the trainings that are tested.
        steps: Time steps T.
        hidden: Hidden neurons of the head.
        batch_size: Samples in a batch.
    """

    eye: Eye
    epochs: int
    steps: int = 6
    hidden: int = 1000
    batch_size: int = 50


class Outcome(NamedTuple):
    """A training: accuracy in percent after its last epoch, wall time, what computed.

    ``curve`` has the accuracy on the training samples while they were learned, and on the validation part, of every
    epoch, where it was asked for.
    """

    accuracy: float
    seconds: float
    machine: str
    curve: list[list[float]] | None = None


class Way:
    """One fold of a task, and the trainings on it; what the eye sees is looked at when it is first needed.

    Args:
        lab: Where trainings are stored.
        climb: How the task is climbed.
        fold: Its data.
    """

    def __init__(self, lab: Lab, climb: Climb, fold: Fold) -> None:
        self.lab, self.climb, self.fold = lab, climb, fold

    def train(self, name: str, rung: Rung, lr: float, *, seed: int, stage: Stage) -> Outcome:
        """A training, from the store if it was done before.

        A "trial" is short and judged on the validation part; a "curve" is as long as what is tested, but leaves the
        validation part out and is judged on it after every epoch; a "test" is trained on all training data and judged
        on the test part, once.

        Args:
            name: The rung's, for the store.
            rung: The rule.
            lr: Learning rate at the start.
            seed: Of the head, the feedback and the order of samples.
            stage: What it is for.
        """
        settings = self._settings(stage) | {
            "rung": name,
            "lr": lr,
            "seed": seed,
            "stage": stage,
            "fold": self.fold.name,
            "sizes": self.fold.sizes,
            "version": VERSION,
        }
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
        path = self.lab.out / "runs" / f"ladder-{self.fold.name}-{stage}-{name}-{lr:g}-s{seed}-{digest}.json"
        if path.is_file():
            return Outcome(**json.loads(path.read_text())["outcome"])
        outcome = self._train(rung, lr, seed, stage)
        words = {"settings": settings, "outcome": outcome._asdict()}
        write_whole(path, (json.dumps(words, indent=1) + "\n").encode())
        logger.info(
            "%s, %s of %s at %g, seed %d: %.2f %% (%.0f s)",
            self.fold.name, stage, name, lr, seed, outcome.accuracy, outcome.seconds,
        )  # fmt: skip
        return outcome

    def _settings(self, stage: Stage) -> dict[str, Any]:
        """What of the climb a training depends on."""
        climb = asdict(self.climb)
        if stage == "trial":
            climb |= {"epochs": TRIAL_EPOCHS, "tried": TRIED}
        return climb

    def _train(self, rung: Rung, lr: float, seed: int, stage: Stage) -> Outcome:
        train, judged = self._parts(stage)
        epochs = TRIAL_EPOCHS if stage == "trial" else self.climb.epochs
        judging = batches(judged, TEST_BATCH)
        start = time.perf_counter()
        torch.manual_seed(seed)
        trainer = self._trainer(rung, lr, train, epochs)
        results = trainer.fit(
            batches(train, self.climb.batch_size, shuffle=True),
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
        most = min(TRIED, known) if stage == "trial" else known
        return _rows(self.training, slice(most)), _rows(self.training, slice(known, whole))

    @cached_property
    def look(self) -> Look:
        """The eye, its filters and thresholds taken from the training part."""
        return Look(self.climb.eye, self.fold.encoder, self.fold.learn.tensors[0])

    @cached_property
    def training(self) -> TensorDataset:
        """Spike counts of the training part, and of the validation part behind it."""
        parts = (self.fold.learn, self.fold.validation)
        return self._seen(*map(torch.cat, zip(*(part.tensors for part in parts), strict=True)))

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
