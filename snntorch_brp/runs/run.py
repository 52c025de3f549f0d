"""A training run as a folder: settings, metrics, checkpoints, the model and figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snntorch_brp import plots
from snntorch_brp.analysis import Statistics, analyse
from snntorch_brp.consolidation import consolidation_named
from snntorch_brp.data.augment import AUGMENTATIONS, Augmentation
from snntorch_brp.data.loader import batches, head
from snntorch_brp.encoding import DirectEncoder, RateEncoder
from snntorch_brp.feedback import Feedback
from snntorch_brp.initialization import calibrate
from snntorch_brp.propagation import PROPAGATIONS
from snntorch_brp.rules import LocalRule, trained_rule
from snntorch_brp.runs.config import SCHEDULES, RunConfig, differences, resolve_device
from snntorch_brp.runs.demand import check_memory
from snntorch_brp.runs.figures import RunFigures, save_figure
from snntorch_brp.runs.folder import check_free, clear, locked
from snntorch_brp.runs.holdout import hold_back
from snntorch_brp.runs.networks import network_of
from snntorch_brp.runtime import distributed
from snntorch_brp.runtime.files import write_whole
from snntorch_brp.runtime.randomness import random_state, set_random_state
from snntorch_brp.tasks.base import Task, TrainTest
from snntorch_brp.tasks.registry import task_named
from snntorch_brp.training import BRPTrainer, Evaluation
from snntorch_brp.training.callbacks import Callback, EarlyStopping, MetricsFile
from snntorch_brp.training.checkpoint import Checkpoints, read_checkpoint, write_checkpoint
from snntorch_brp.training.tensorboard import TensorBoard

__all__ = [
    "PROPAGATIONS",
    "SCHEDULES",
    "TEST_BATCH",
    "Keeping",
    "RunConfig",
    "build_trainer",
    "evaluate_run",
    "load_data",
    "resolve_device",
    "start_trainer",
    "task_of",
    "train_run",
]

TEST_BATCH = 250
ANALYSED = 1000  # samples that the activity of a tested network is counted on
CALIBRATED = 50  # training samples that a calibrated start is measured on
CURRENT_MEAN, CURRENT_STD = 0.5, 0.3  # of the currents, in thresholds: about one neuron in ten fires, as of the labels


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
                    config.check_same(RunConfig.read(folder))
                elif not keeping.overwrite:
                    check_free(folder)
            except (OSError, ValueError) as error:
                problem = error
        resumed, said = distributed.from_first((resumed, None if problem is None else str(problem)))
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
    checkpoints = Checkpoints(
        folder / "checkpoints",
        every=keeping.checkpoint_every,
        keep=keeping.keep,
        about=asdict(config),
        check=lambda about: config.check_same(RunConfig.of(about)),
    )
    first = distributed.rank() == 0
    if not resumed:
        _try_out(trainer, sets)
        if first:
            clear(folder)
            write_whole(folder / "config.json", (json.dumps(asdict(config), indent=2) + "\n").encode())
    elif checkpoints.resume(trainer, device=device) is None and distributed.from_first(_has_epochs(folder)):
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
        _write_end(trainer, config, evaluation, folder, title=_title(config, sets))
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


def start_trainer(
    config: RunConfig, sets: TrainTest, device: torch.device | None = None, *, task: Task | None = None
) -> BRPTrainer:
    """The trainer of a run before its first step; all that is random follows from ``config.seed``."""
    torch.manual_seed(config.seed)
    steps = config.epochs * -(-len(sets.train) // config.batch_size)  # type: ignore[arg-type]
    trainer = build_trainer(config, device=device, encoder=sets.encoder, steps=steps, task=task)
    if config.weights == "calibrated":
        x, _ = next(iter(batches(sets.train, CALIBRATED)))
        if not isinstance(trainer.net, nn.Sequential):
            raise ValueError(
                "calibrated weights need an nn.Sequential: use --weights torch, or calibrate the model itself"
            )
        calibrate(trainer.net, trainer.encode(x, seed=config.seed), mean=CURRENT_MEAN, std=CURRENT_STD)
        distributed.same_everywhere(trainer.net.state_dict().values())  # processors may round in ways of their own
    return trainer


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


def _write_end(trainer: BRPTrainer, config: RunConfig, evaluation: Evaluation, folder: Path, *, title: str) -> None:
    """Write the model, and its result on the test set."""
    model = {"network": trainer.net.state_dict(), "feedback": trainer.feedback.state_dict()}
    write_checkpoint(folder / "model.pt", {**model, "about": asdict(config)})
    result = {"accuracy": evaluation.accuracy, "loss": evaluation.loss, "samples": evaluation.count}
    about = {"split": evaluation.split, "weights": f"last, after epoch {trainer.progress.epoch - 1}"}
    write_whole(folder / "test.json", (json.dumps({**result, **about}, indent=2) + "\n").encode())
    save_figure(
        plots.confusion_matrix(evaluation.confusion, title=f"{title}: test set, last weights"),
        folder / "confusion.png",
    )


@dataclass(frozen=True)
class RunEvaluation:
    """How the model of a run does.

    Attributes:
        evaluation: Loss and confusion over all samples.
        statistics: What its layers did on the first ``ANALYSED`` samples.
    """

    evaluation: Evaluation
    statistics: Statistics


def evaluate_run(
    folder: Path,
    *,
    data: str | None = None,
    limit_test: int | None = None,
    training_set: bool = False,
    device: str = "auto",
) -> RunEvaluation:
    """Test the model of a run folder.

    Args:
        folder: The run folder.
        data: Folder of the data set, if it is not where it was.
        limit_test: Test on the first so many samples only; as in training when None.
        training_set: Test on what it was trained on instead; what was held back is not part of it.
        device: "cpu", "cuda" or "auto".

    Raises:
        FileNotFoundError: If the folder holds no run, or no model.
        ValueError: If the model is damaged, or does not fit the settings.
    """
    config = RunConfig.read(folder)
    config = replace(
        config,
        data=data or config.data,
        limit_test=limit_test or config.limit_test,
        device=resolve_device(device),
    )
    sets = load_data(config)
    trainer = trained(config, folder, encoder=sets.encoder)
    samples = head(sets.train, limit_test) if training_set else sets.test
    evaluation = replace(trainer.evaluate(batches(samples, TEST_BATCH)), split=sets.split)
    statistics: Statistics | None = None
    for x, _ in batches(head(samples, ANALYSED), TEST_BATCH):
        spikes = trainer.encode(x, seed=0)
        found = analyse(trainer.net, lambda spikes=spikes: trainer.run(spikes))  # type: ignore[misc]
        statistics = found if statistics is None else statistics + found
    assert statistics is not None
    return RunEvaluation(evaluation, statistics)


def trained(config: RunConfig, folder: Path, *, encoder: Callable[[Tensor], Tensor] | None = None) -> BRPTrainer:
    """A trainer with the network and the feedback of a run folder's ``model.pt``.

    Args:
        config: The settings of the run.
        folder: The run folder.
        encoder: Takes the place of the task's, where the data brings its own.

    Raises:
        FileNotFoundError: If there is no model.
        ValueError: If it is damaged, or of other settings.
    """
    path = folder / "model.pt"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no model.pt: did its training end? Go on with train ... --resume")
    state = read_checkpoint(path, device=config.device)
    try:
        wrong = differences(RunConfig.of(state["about"]), RunConfig.read(folder))
        if wrong:
            raise ValueError(f"it is of another run, with other {', '.join(wrong)}")
        trainer = build_trainer(config, encoder=encoder)
        trainer.net.load_state_dict(state["network"])
        trainer.feedback.load_state_dict(state["feedback"])
    except Exception as error:
        raise ValueError(f"{path} does not hold the model of this run: {error}") from error
    return trainer


def task_of(config: RunConfig) -> Task:
    """The task of a run, with the options chosen."""
    return task_named(config.task).configured(steps=config.steps, device=config.device, options=config.options)


def load_data(config: RunConfig, *, task: Task | None = None) -> TrainTest:
    """The training and test set of a run, cut to its limits, and what is held back of the training set."""
    task = task or task_of(config)
    if task.needs_data and config.data is None:
        raise ValueError(f"{config.task} is read from files that you have: name their folder with --data DIR")
    sets = task.load(None if config.data is None else Path(config.data))
    sets = sets._replace(train=head(sets.train, config.limit_train), test=head(sets.test, config.limit_test))
    return hold_back(sets, config.validation, seed=config.seed)


def build_trainer(
    config: RunConfig,
    *,
    device: torch.device | None = None,
    encoder: Callable[[Tensor], Tensor] | None = None,
    steps: int | None = None,
    task: Task | None = None,
) -> BRPTrainer:
    """The trainer of a run, its network freshly drawn from torch's generator.

    Args:
        config: The settings.
        device: Where to train; ``config.device`` when None.
        encoder: Takes the place of the task's, where the data brings its own.
        steps: Training steps of the whole run, for the schedule of the learning rate; a constant one when None.
        task: The record of the task, configured; made from the settings when None.
    """
    task = task or task_of(config)
    check_memory(config, task)
    net = network_of(config.model, task, detach_reset=config.detach_reset).to(device or config.device)
    optimizer = _optimizer(net, config)
    if config.encoder == "direct" and task.encoder is not RateEncoder:
        raise ValueError(f"{config.task} has an encoder of its own: 'direct' is for images")
    usual = DirectEncoder(config.steps) if config.encoder == "direct" else task.encoder(config.steps, config.alpha)
    rule = trained_rule(config.propagation)
    says_itself = isinstance(rule, LocalRule) and config.consolidation == "pseudo-gradient"  # which is the default
    return BRPTrainer(
        net,
        num_classes=task.num_classes,
        propagation=rule,
        consolidation=None if says_itself else consolidation_named(config.consolidation),
        feedback=None if config.regions is None else Feedback(task.num_classes, regions=config.regions),
        optimizer=optimizer,
        scheduler=None if steps is None else SCHEDULES[config.schedule](optimizer, steps),
        clip_norm=config.clip_norm,
        encoder=encoder or usual,
        engine=config.engine,  # type: ignore[arg-type]
        precision=config.precision,  # type: ignore[arg-type]
    )


def _optimizer(net: nn.Module, config: RunConfig) -> torch.optim.Optimizer:
    """Adam, or AdamW where weights decay; hidden layers may have a learning rate of their own."""
    groups: Any = net.parameters()
    if config.hidden_lr is not None:
        if not isinstance(net, nn.Sequential):
            raise ValueError("a learning rate of the hidden layers needs an nn.Sequential, whose last layer is known")
        output = list([layer for layer in net if any(True for _ in layer.parameters())][-1].parameters())
        hidden = [p for p in net.parameters() if not any(p is last for last in output)]
        groups = [{"params": output}, {"params": hidden, "lr": config.hidden_lr}]
    if config.weight_decay:
        return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay)
    return torch.optim.Adam(groups, lr=config.lr)
