"""The trainings of the study, each stored as one json file."""

from __future__ import annotations

import hashlib
import json
import logging
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import TensorDataset

from snntorch_brp.paper.lab import NotFinishedError, machine
from snntorch_brp.paper.stored import number, stored_object, unusable
from snntorch_brp.rule_study.courses import Amount, Course, Data
from snntorch_brp.rule_study.entries import Entry
from snntorch_brp.rule_study.learners import Learner, learner_of
from snntorch_brp.runtime.files import write_whole

logger = logging.getLogger(__name__)

TEST_BATCH = 250
VERSION = 2  # of what the stored trainings depend on beside their settings


@dataclass(frozen=True)
class Outcome:
    """A training: accuracies in percent after its last epoch, median milliseconds of a step, what computed."""

    validation: float
    test: float
    step_ms: float
    machine: str


class CourseTrainings:
    """The trainings on one course.

    Args:
        out: Folder of the stored trainings.
        course: The course.
        data: Its data.
        amount: How long is trained.
        device: "cpu" or "cuda", for the record.
        finished: Take finished trainings alone, and train nothing.
    """

    def __init__(
        self, out: Path, course: Course, data: Data, amount: Amount, *, device: str, finished: bool = False
    ) -> None:
        self.out, self.course, self.data, self.amount, self.device = out, course, data, amount, device
        self.finished = finished

    def settings(self, name: str, lr: float, seed: int) -> dict[str, Any]:
        """What a training depends on."""
        sizes = {part: len(getattr(self.data, part)) for part in ("learn", "validation", "test")}
        course = {
            "course": self.course.name, "steps": self.course.steps, "network": self.course.network,
            "channels": list(self.course.channels), "widths": list(self.course.widths),
        }  # fmt: skip
        rates = {"lr": lr, "output lr": self.course.output_lr}
        amount = {"epochs": self.amount.epochs, "batch_size": self.amount.batch_size}
        return {"rule": name, **rates, "seed": seed, **course, **sizes, **amount, "version": VERSION}

    def path(self, name: str, lr: float, seed: int) -> Path:
        """The file of a training, whose name has a hash of all settings."""
        settings = json.dumps(self.settings(name, lr, seed), sort_keys=True)
        digest = hashlib.sha256(settings.encode()).hexdigest()[:8]
        return self.out / f"rules-{self.course.name}-{name}-{lr:g}-s{seed}-{digest}.json"

    def train(self, name: str, entry: Entry, lr: float, seed: int) -> Outcome:
        """A training, from the store if it was done before.

        Args:
            name: The rule's, for the store.
            entry: The rule.
            lr: Learning rate of the hidden layers.
            seed: Of weights, feedback, order and encoding.

        Raises:
            NotFinishedError: If it is not finished and only finished ones are taken.
        """
        path = self.path(name, lr, seed)
        if path.is_file():
            return read_outcome(path)
        if self.finished:
            raise NotFinishedError(f"{path} is not there: this training is not finished; leave out --finished to do it")
        outcome = self._train(entry, lr, seed)
        words = {"settings": self.settings(name, lr, seed), "outcome": asdict(outcome)}
        write_whole(path, (json.dumps(words, indent=1) + "\n").encode())
        logger.info(
            "%s, %s at %g, seed %d: validation %.1f %%, %.0f ms a step",
            self.course.name, name, lr, seed, outcome.validation, outcome.step_ms,
        )  # fmt: skip
        return outcome

    def _train(self, entry: Entry, lr: float, seed: int) -> Outcome:
        torch.manual_seed(seed)
        learner = learner_of(entry.make(), self.course, self.data, lr)
        samples, labels = self.data.learn.tensors
        taken = []
        for _ in range(self.amount.epochs):
            for places in learner.order(labels, self.amount.batch_size):
                start = time.process_time()
                learner.learn(samples[places], labels[places])
                taken.append(time.process_time() - start)
        validation, test = (accuracy(learner, part) for part in (self.data.validation, self.data.test))
        return Outcome(validation, test, 1e3 * statistics.median(taken), machine(self.device))


def accuracy(learner: Learner, dataset: TensorDataset) -> float:
    """Share of the samples whose class is named, percent."""
    parts = zip(*(tensor.split(TEST_BATCH) for tensor in dataset.tensors), strict=True)
    right = sum(int((learner.predict(samples) == labels).sum()) for samples, labels in parts)
    return 100 * right / len(dataset)


def read_outcome(path: Path) -> Outcome:
    """A stored training.

    Raises:
        ValueError: If the file is damaged or holds something else; the message says what, and what to do.
    """
    outcome = stored_object(path).get("outcome")
    names = list(Outcome.__dataclass_fields__)
    if not isinstance(outcome, dict) or set(outcome) != set(names):
        raise unusable(path, f"its 'outcome' must have {', '.join(names)}")
    if not all(number(outcome[name]) for name in names[:3]) or not isinstance(outcome["machine"], str):
        raise unusable(path, "its figures must be numbers, and 'machine' text")
    return Outcome(**outcome)
