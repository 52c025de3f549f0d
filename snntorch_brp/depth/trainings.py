"""Trainings of the study of depth: each is stored, and goes on where it was stopped."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import TensorDataset

from snntorch_brp.data.augment import AUGMENTATIONS
from snntorch_brp.data.loader import batches
from snntorch_brp.depth.front import FIRST, FrozenFront
from snntorch_brp.depth.outcome import Clock, Outcome, read_outcome
from snntorch_brp.depth.probes import LinearReader, pooled_rates, read_layers
from snntorch_brp.depth.recipes import RECIPES, REGIONS
from snntorch_brp.depth.settings import Setting
from snntorch_brp.depth.wide import WIDE_GRID, wide_reader
from snntorch_brp.feedback import Feedback
from snntorch_brp.initialization import patch_filters
from snntorch_brp.label_only.features import PATCH_SAMPLES
from snntorch_brp.label_only.folds import Fold
from snntorch_brp.paper.lab import Lab, NotFinishedError, machine
from snntorch_brp.runs.run import TEST_BATCH
from snntorch_brp.runtime.files import write_whole
from snntorch_brp.training import BRPTrainer
from snntorch_brp.training.checkpoint import Checkpoints
from snntorch_brp.training.executor import class_means

logger = logging.getLogger(__name__)

PROBED = 10_000  # training samples that linear readers learn from
TRAINED_BY = ("network", "steps", "batch_size", "lr", "augment", "validation", "temperature")  # of a setting
FROZEN_BY = ("frozen", "mirrored")  # likewise, where its first convolution stands still
VERSION = 1  # of what stored trainings depend on beside their settings

Stage = Literal["trial", "whole"]


class Parts(NamedTuple):
    """What a training reads; a trial that has what a frozen layer fires has no test set."""

    learn: TensorDataset
    validation: TensorDataset
    test: TensorDataset | None


class DepthTrainings:
    """One task of the study, and the trainings on it.

    Args:
        lab: Where trainings are stored.
        setting: How they are made.
        fold: The data.
        input_shape: Shape of one sample at one step.
    """

    def __init__(self, lab: Lab, setting: Setting, fold: Fold, input_shape: tuple[int, ...]) -> None:
        self.lab, self.setting, self.fold, self.input_shape = lab, setting, fold, input_shape
        self._kept: dict[tuple[int, Stage], Parts] = {}

    def train(self, name: str, *, seed: int, stage: Stage, epochs: int | None = None) -> Outcome:
        """A training, from the store if it was done before.

        Args:
            name: Of the recipe.
            seed: Of weights, feedback and the order of samples.
            stage: "trial", short and judged on the validation part, or "whole", with the test set read at the end.
            epochs: Passes over the training part; the setting's own of this stage when None.

        Raises:
            NotFinishedError: If it is not in the store, and nothing is to be trained.
        """
        setting = self.setting
        passes = epochs or (setting.trial_epochs if stage == "trial" else setting.epochs)
        name_of_file = f"{stage}-{name}-e{passes}-s{seed}"
        names = (
            *TRAINED_BY,
            *(FROZEN_BY if setting.frozen else ()),
            *(("flat",) if RECIPES[name].flat else ()),
            *(("trial_samples",) if stage == "trial" else ()),
        )
        settings = {
            "recipe": name,
            **{key: getattr(setting, key) for key in names},
            "seed": seed,
            "epochs": passes,
        }
        return self._stored(name_of_file, settings, lambda kept: self._train(name, seed, stage, passes, kept))

    def epochs_in(self, seconds: float, name: str) -> int:
        """Epochs that a training of a recipe may last for about so many seconds, by what its trial took.

        Raises:
            NotFinishedError: If its trial is not in the store, and nothing is to be trained.
        """
        trial = self.train(name, seed=0, stage="trial")
        samples = min(self.setting.trial_samples, len(self.fold.learn))
        an_epoch = statistics.fmean(trial.seconds) * len(self.fold.learn) / samples
        return max(1, round(seconds / an_epoch))

    def wide(self) -> Outcome:
        """A wide frozen convolution with a linear reader, from the store if it was done before."""
        channels = self.setting.wide
        settings = {"wide": channels, "grid": WIDE_GRID, "steps": self.setting.steps}
        return self._stored(f"wide-{channels}", settings, lambda _: wide_reader(self.fold, channels, self.input_shape))

    def _stored(self, name: str, settings: Mapping[str, Any], make: Callable[[Path], Outcome]) -> Outcome:
        """What was made of these settings, or is made now; ``make`` is given a folder for what is unfinished."""
        settings = {**settings, "fold": self.fold.name, "sizes": self.fold.sizes, "version": VERSION}
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
        path = self.lab.out / "runs" / f"depth-{self.fold.name}-{name}-{digest}.json"
        if path.is_file():
            return read_outcome(path)
        if self.lab.finished:
            raise NotFinishedError(f"{path} is not there: this training is not finished; leave out --finished to do it")
        kept = path.with_suffix(".checkpoints")
        outcome = make(kept)
        words = {"settings": settings, "outcome": asdict(outcome)}
        write_whole(path, (json.dumps(words, indent=1) + "\n").encode())
        shutil.rmtree(kept, ignore_errors=True)
        logger.info(
            "%s, %s: %.2f %% in validation (%.0f s of the processor)",
            self.fold.name, name, outcome.validation, sum(outcome.seconds),
        )  # fmt: skip
        return outcome

    def _train(self, name: str, seed: int, stage: Stage, epochs: int, kept: Path) -> Outcome:
        count = min(len(self.fold.learn), self.setting.trial_samples if stage == "trial" else len(self.fold.learn))
        count *= 2 if self.setting.mirrored else 1
        trainer, front = self.trainer(name, seed=seed, steps=epochs * -(-count // self.setting.batch_size))
        learn, validation, test = self._parts(front, seed, stage)
        judging = batches(validation, TEST_BATCH)
        clock, checkpoints = Clock(kept / "seconds.json"), Checkpoints(kept, keep=1, about={"of": kept.name})
        checkpoints.resume(trainer, device=self.lab.device)
        augment = None if self.setting.augment is None else AUGMENTATIONS[self.setting.augment]
        results = trainer.fit(
            batches(learn, self.setting.batch_size, shuffle=True, augment=augment),
            epochs=epochs,
            validation=judging if stage == "whole" else None,
            callbacks=[clock, checkpoints],
            progress=False,
        )
        seconds, where = clock.seconds, machine(self.lab.device)
        if stage == "trial" or test is None:
            curve = [[100 * results[-1].accuracy, 100 * trainer.evaluate(judging).accuracy]]
            return Outcome(curve=curve, seconds=seconds, test=None, probe={}, machine=where)
        probe = self._probe(trainer, front, learn, validation)
        return Outcome(
            curve=[[100 * r.accuracy, 100 * r.validation.accuracy] for r in results if r.validation is not None],
            test=100 * trainer.evaluate(batches(test, TEST_BATCH)).accuracy,
            probe={layer: 100 * accuracy for layer, accuracy in probe.items()},
            seconds=seconds,
            machine=where,
        )

    def _parts(self, front: FrozenFront | None, seed: int, stage: Stage) -> Parts:
        """What is learned from, and what judges; of a frozen layer what it fires for them.

        What was kept last serves the next training, too, if it is of the same seed and stage.
        """
        learn, validation, test = self.fold.learn, self.fold.validation, self.fold.test
        if stage == "trial":
            learn = _first(learn, self.setting.trial_samples)
        if front is None:
            return Parts(learn, validation, test)
        if (seed, stage) not in self._kept:
            self._kept = {}  # one at a time: of CIFAR-10 it takes 400 MB and more
            learn = front.keep(learn, mirrored=self.setting.mirrored)
            tested = None if stage == "trial" else front.keep(test)
            self._kept[seed, stage] = Parts(learn, front.keep(validation), tested)
        return self._kept[seed, stage]

    def _probe(
        self, trainer: BRPTrainer, front: FrozenFront | None, learn: TensorDataset, judged: TensorDataset
    ) -> Mapping[str, float]:
        """What a linear reader reads behind each layer."""
        learn = _first(learn, PROBED)
        found = read_layers(trainer, learn, judged)
        if front is None:
            return found
        (seen, labels), (new, truth) = (
            (pooled_rates(part.tensors[0], front.spikes), part.tensors[1]) for part in (learn, judged)
        )
        first = LinearReader(seen, labels, num_classes=self.fold.num_classes).accuracy(new, truth)
        return {FIRST: first, **found}

    def trainer(self, name: str, *, seed: int, steps: int) -> tuple[BRPTrainer, FrozenFront | None]:
        """The trainer of a network whose first filters are whitened patches of training images, and all others drawn.

        Args:
            name: Of the recipe.
            seed: Of all that is drawn.
            steps: Training steps in all, for the schedule of the learning rate.

        Returns:
            The trainer, and the first layer where it stands still; what it fires is then what the trainer takes.
        """
        recipe, setting = RECIPES[name], self.setting
        torch.manual_seed(seed)
        net = setting.net(self.input_shape, flat=recipe.flat)
        generator = torch.Generator().manual_seed(seed)
        samples, encoder, front = self.fold.learn.tensors[0][:PATCH_SAMPLES], self.fold.encoder, None
        if setting.frozen:
            front = FrozenFront(net, encoder, samples, generator=generator)
            net, encoder = front.rest, front.spikes
        else:
            assert isinstance(net[0], nn.Conv2d)  # all networks of the study start with one
            patch_filters(net[0], encoder(samples)[0], generator=generator)
        net.to(self.lab.device)
        optimizer = torch.optim.Adam(net.parameters(), lr=setting.lr, fused=True)
        made = BRPTrainer(
            net,
            num_classes=self.fold.num_classes,
            propagation=recipe.propagation,
            consolidation=recipe.consolidation,
            feedback=Feedback(self.fold.num_classes, regions=REGIONS),
            optimizer=optimizer,
            scheduler=CosineAnnealingLR(optimizer, steps),
            encoder=encoder,
            loss=RateCrossEntropy(self.fold.num_classes, setting.temperature),
        )
        return made, front


@dataclass(frozen=True)
class RateCrossEntropy:
    """Cross-entropy of the softmax of ``temperature`` times the rates of the classes, each the mean of its neurons."""

    num_classes: int
    temperature: float

    def __call__(self, spikes: Tensor, labels: Tensor) -> Tensor:
        """A scalar, of spikes ``[T, B, n·K]`` and labels ``[B]``."""
        return F.cross_entropy(self.temperature * class_means(spikes.mean(0), self.num_classes), labels)


def _first(part: TensorDataset, count: int) -> TensorDataset:
    return TensorDataset(*(tensor[:count] for tensor in part.tensors))
