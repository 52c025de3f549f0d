"""A training run as a folder: settings, metrics, checkpoints, the model and figures."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from snntorch_brp import plots
from snntorch_brp.data.augment import AUGMENTATIONS, Augmentation
from snntorch_brp.data.loader import batches
from snntorch_brp.runs.assemble import TEST_BATCH, load_data, start_trainer, task_of
from snntorch_brp.runs.config import RunConfig
from snntorch_brp.runs.figures import RunFigures, save_figure
from snntorch_brp.runs.folder import check_free, clear, locked
from snntorch_brp.runs.identity import about_run, check_about, samples_of
from snntorch_brp.runs.idle import idle_settings
from snntorch_brp.runtime import distributed
from snntorch_brp.runtime.files import write_whole
from snntorch_brp.runtime.randomness import random_state, set_random_state
from snntorch_brp.tasks.base import TrainTest
from snntorch_brp.training import BRPTrainer, Evaluation
from snntorch_brp.training.callbacks import Callback, EarlyStopping, MetricsFile
from snntorch_brp.training.checkpoint import Checkpoints, write_checkpoint
from snntorch_brp.training.tensorboard import TensorBoard

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Keeping:
    """What is kept of a run, and what it goes on from; nothing here changes its results.

    Attributes:
        resume: Go on from the newest checkpoint of the folder, if there is one.
        overwrite: Replace what the folder holds of another run.
        checkpoint_every: Steps between checkpoints; None for one an epoch.
        keep: How many of the last checkpoints to keep.
        workers: Processes that read data ahead.
        tensorboard: Write TensorBoard's files too.
    """

    resume: bool = False
    overwrite: bool = False
    checkpoint_every: int | None = None
    keep: int = 3
    workers: int = 0
    tensorboard: bool = False


def train_run(config: RunConfig, folder: Path, *, keeping: Keeping | None = None, progress: bool = True) -> Evaluation:
    """Train as ``config`` says and fill a run folder; under torchrun, together with the other processes.

    The folder gets ``config.json``, ``metrics.jsonl`` (one line an epoch), ``checkpoints/``, ``model.pt`` (weights
    and feedback matrices), ``test.json`` (the result on the test set) and the figures ``learning_curve.png``,
    ``raster.png``, ``membrane.png`` and ``confusion.png``, refreshed during the run. What is chosen, the best
    checkpoint and when to stop, is chosen on the part of the training data that is held back (``config.validation``).
    The test set is read once, at the end, with the last weights. A start that fails before the first step leaves
    nothing behind.

    Args:
        config: The settings.
        folder: The run folder, made where it does not exist.
        keeping: What is kept, and whether to go on from it.
        progress: Show progress bars, where there is a terminal.

    Returns:
        The result on the test set after the last epoch.

    Raises:
        FileExistsError: If the folder holds a run already that is neither to be resumed nor to be replaced, holds
            files that the run would replace, or another process trains in it.
        ValueError: If a setting, the data or a checkpoint does not fit.
        KeyboardInterrupt: If training was stopped by Ctrl-C or SIGTERM; a checkpoint is there then.
    """
    keeping = keeping or Keeping()
    config.check()
    if config.patience is not None and not config.validation:
        raise ValueError("patience stops on the accuracy in validation, and validation is 0: hold a part back")
    with distributed.process_group(config.device) as device:
        distributed.agree(config.key(), "settings")
        with _claimed(config, folder, keeping) as resumed:
            return _train(config, folder, keeping, device, resumed=resumed, progress=progress)


@contextmanager
def _claimed(config: RunConfig, folder: Path, keeping: Keeping) -> Iterator[bool]:
    """Inside the block the folder is this run's alone; gives whether it holds the run already."""
    resume, resumed, problem = keeping.resume or distributed.restarted(), False, None
    with ExitStack() as stack:
        if distributed.rank() == 0:
            try:
                stack.enter_context(locked(folder))
                resumed = resume and (folder / "config.json").exists()
                if resumed:
                    config.check_same(RunConfig.read(folder), f"the run in {folder}")
                elif not keeping.overwrite:
                    check_free(folder)
            except (OSError, ValueError) as error:
                problem = error
        resumed, said = distributed.broadcast_object((resumed, None if problem is None else str(problem)))
        if problem is not None:
            raise problem
        if said is not None:
            raise ValueError(said)
        yield resumed


def _train(
    config: RunConfig, folder: Path, keeping: Keeping, device: torch.device, *, resumed: bool, progress: bool
) -> Evaluation:
    """Train in a folder that is this run's alone."""
    task = task_of(config)  # configured once, and handed on
    sets = load_data(config, task=task)
    trainer = start_trainer(config, sets, device, task=task)
    load = partial(batches, workers=keeping.workers, rank=distributed.rank(), world_size=distributed.world_size())
    samples = samples_of(sets)
    checkpoints = Checkpoints(
        folder / "checkpoints",
        every=keeping.checkpoint_every,
        keep=keeping.keep,
        about=about_run(config, samples),
        check=lambda found: check_about(found, config, samples),
    )
    first = distributed.rank() == 0
    if first:
        for line in idle_settings(config, task, trainer.net):
            logger.warning(line)
    if not resumed:
        _try_out(trainer, sets)
        if first:
            clear(folder)
            write_whole(folder / "config.json", (json.dumps(asdict(config), indent=2) + "\n").encode())
    elif checkpoints.resume(trainer, device=device) is None and distributed.broadcast_object(_has_epochs(folder)):
        raise FileNotFoundError(f"{folder} has no checkpoint left to go on from: train anew with --overwrite")
    try:
        trainer.fit(
            load(sets.train, config.batch_size, shuffle=True, augment=_augmentation(config)),
            epochs=config.epochs,
            validation=None if sets.validation is None else load(sets.validation, TEST_BATCH),
            callbacks=_callbacks(config, folder, keeping, sets, checkpoints),
            progress=progress,
        )
    except BaseException:
        if first and not resumed and trainer.progress.step == 0:
            clear(folder)
        raise
    evaluation = replace(trainer.evaluate(load(sets.test, TEST_BATCH)), split=sets.split)
    if first:
        _write_end(trainer, about_run(config, samples), evaluation, folder, title=_title(config, sets))
    return evaluation


def _augmentation(config: RunConfig) -> Augmentation | None:
    return None if config.augment is None else replace(AUGMENTATIONS[config.augment], seed=config.seed)


def _try_out(trainer: BRPTrainer, sets: TrainTest) -> None:
    """Run a few samples, so that what does not fit is found before anything is written; changes nothing."""
    state = random_state(trainer.encoder)
    trainer.predict(next(iter(batches(sets.train, 2)))[0])
    set_random_state(state, trainer.encoder)


def _has_epochs(folder: Path) -> bool:
    """Whether an epoch of the run has ended."""
    path = folder / "metrics.jsonl"
    return path.is_file() and path.stat().st_size > 0


def _title(config: RunConfig, sets: TrainTest) -> str:
    return f"{sets.note}{config.task}, {config.model}, {config.propagation}"


def _callbacks(
    config: RunConfig, folder: Path, keeping: Keeping, sets: TrainTest, checkpoints: Checkpoints
) -> list[Callback]:
    stopping = [] if config.patience is None else [EarlyStopping(config.patience)]
    if distributed.rank() != 0:  # one process writes
        return [*stopping]
    shown, kind = (sets.train, "training") if sets.validation is None else (sets.validation, "validation")
    figures = RunFigures(folder, shown, kind=kind, title=_title(config, sets), seed=config.seed)
    x, _ = next(iter(batches(shown, 32)))
    boards = [TensorBoard(folder / "tensorboard", x=x)] if keeping.tensorboard else []
    return [*stopping, MetricsFile(folder / "metrics.jsonl"), figures, *boards, checkpoints]


def _write_end(trainer: BRPTrainer, about: dict[str, Any], evaluation: Evaluation, folder: Path, *, title: str) -> None:
    """Write the model, and its result on the test set."""
    model = {"network": trainer.net.state_dict(), "feedback": trainer.feedback.state_dict()}
    write_checkpoint(folder / "model.pt", {**model, "about": about})
    result = {"accuracy": evaluation.accuracy, "loss": evaluation.loss, "samples": evaluation.count}
    origin = {"split": evaluation.split, "weights": f"last, after epoch {trainer.progress.epoch - 1}"}
    write_whole(folder / "test.json", (json.dumps({**result, **origin}, indent=2) + "\n").encode())
    save_figure(
        plots.confusion_matrix(evaluation.confusion, title=f"{title}: test set, last weights"),
        folder / "confusion.png",
    )
