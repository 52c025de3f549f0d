"""A training run as a folder: settings, metrics, checkpoints, the model and figures."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from snntorch_brp import distributed
from snntorch_brp.analysis import Statistics, analyse
from snntorch_brp.analysis.callbacks import encoded
from snntorch_brp.callbacks import Callback, EarlyStopping, MetricsFile
from snntorch_brp.checkpoint import Checkpoints
from snntorch_brp.data.loader import batches, head
from snntorch_brp.experiments.config import PROPAGATIONS, SCHEDULES, RunConfig, resolve_device
from snntorch_brp.experiments.run_figures import RunFigures
from snntorch_brp.experiments.task import Sets, Task
from snntorch_brp.experiments.tasks import TASKS
from snntorch_brp.files import write_whole
from snntorch_brp.initialization import calibrate
from snntorch_brp.models import network
from snntorch_brp.tensorboard import TensorBoard
from snntorch_brp.trainer import BRPTrainer, Evaluation

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
        checkpoint_every: Steps between checkpoints; None for one an epoch.
        keep: How many of the last checkpoints to keep.
        workers: Processes that read data ahead.
        tensorboard: Write TensorBoard's files too.
    """

    resume: bool = False
    checkpoint_every: int | None = None
    keep: int = 3
    workers: int = 0
    tensorboard: bool = False


def train_run(config: RunConfig, folder: Path, *, keeping: Keeping | None = None, progress: bool = True) -> Evaluation:
    """Train as ``config`` says and fill a run folder; under torchrun, together with the other processes.

    The folder gets ``config.json``, ``metrics.jsonl`` (one line an epoch), ``checkpoints/``, ``model.pt`` (weights
    and feedback matrices) and the figures ``learning_curve.png``, ``raster.png``, ``membrane.png`` and
    ``confusion.png``, refreshed during the run.

    Args:
        config: The settings.
        folder: The run folder, made where it does not exist.
        keeping: What is kept, and whether to go on from it.
        progress: Show progress bars, where there is a terminal.

    Returns:
        The result on the test set after the last epoch.

    Raises:
        FileExistsError: If the folder holds a run already, and it is not to be resumed.
        ValueError: If a setting or the data does not fit.
        KeyboardInterrupt: If training was stopped by Ctrl-C or SIGTERM; a checkpoint is there then.
    """
    keeping = keeping or Keeping()
    with distributed.process_group(config.device) as device:
        _start_folder(config, folder, resume=keeping.resume or distributed.restarted())
        sets = load_data(config)
        trainer = start_trainer(config, sets, device)
        load = partial(batches, workers=keeping.workers, rank=distributed.rank(), world_size=distributed.world_size())
        checkpoints = Checkpoints(
            folder / "checkpoints", every=keeping.checkpoint_every, keep=keeping.keep, about=asdict(config)
        )
        checkpoints.resume(trainer, device=device)
        results = trainer.fit(
            load(sets.train, config.batch_size, shuffle=True),
            epochs=config.epochs,
            validation=load(sets.test, TEST_BATCH),
            callbacks=_callbacks(config, folder, keeping, sets, checkpoints),
            progress=progress,
        )
        if distributed.rank() == 0:
            _write_model(trainer, folder / "model.pt")
    evaluation = results[-1].validation
    assert evaluation is not None
    return replace(evaluation, split=sets.split)


def start_trainer(config: RunConfig, sets: Sets, device: torch.device | None = None) -> BRPTrainer:
    """The trainer of a run before its first step; all that is random follows from ``config.seed``."""
    torch.manual_seed(config.seed)
    trainer = build_trainer(config, device)
    trainer.encoder = sets.encoder or trainer.encoder
    steps = config.epochs * -(-len(sets.train) // config.batch_size)  # type: ignore[arg-type]
    trainer.scheduler = SCHEDULES[config.schedule](trainer.optimizer, steps)
    if config.weights == "calibrated":
        x, _ = next(iter(batches(sets.train, CALIBRATED)))
        assert isinstance(trainer.net, nn.Sequential)
        calibrate(trainer.net, encoded(trainer, x, config.seed), mean=CURRENT_MEAN, std=CURRENT_STD)
        distributed.same_everywhere(trainer.net.state_dict().values())  # processors may round in ways of their own
    return trainer


def _start_folder(config: RunConfig, folder: Path, *, resume: bool) -> None:
    """Make the folder, or see that it holds this run."""
    if distributed.rank() != 0:
        return
    path = folder / "config.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, (json.dumps(asdict(config), indent=2) + "\n").encode())
    elif resume:
        config.check_same(RunConfig.read(folder))
    else:
        raise FileExistsError(f"{folder} holds a run already: go on with --resume, or name another with --out")


def _callbacks(
    config: RunConfig, folder: Path, keeping: Keeping, sets: Sets, checkpoints: Checkpoints
) -> list[Callback]:
    stopping = [] if config.patience is None else [EarlyStopping(config.patience)]
    if distributed.rank() != 0:  # one process writes
        return [*stopping]
    title = f"{sets.note}{config.task}, {config.model}, {config.propagation}"
    figures = RunFigures(folder, sets.test, title=title, seed=config.seed)
    x, _ = next(iter(batches(sets.test, 32)))
    boards = [TensorBoard(folder / "tensorboard", x=x)] if keeping.tensorboard else []
    return [*stopping, MetricsFile(folder / "metrics.jsonl"), figures, *boards, checkpoints]


def _write_model(trainer: BRPTrainer, path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"network": trainer.net.state_dict(), "feedback": trainer.attached.feedback.state_dict()}, buffer)
    write_whole(path, buffer.getvalue())


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
    folder: Path, *, data: str | None = None, limit_test: int | None = None, training_set: bool = False
) -> RunEvaluation:
    """Test the model of a run folder.

    Args:
        folder: The run folder.
        data: Folder of the data set, if it is not where it was.
        limit_test: Test on the first so many samples only; as in training when None.
        training_set: Test on what it was trained on instead.

    Raises:
        FileNotFoundError: If the folder holds no run, or no model.
        ValueError: If the model does not fit the settings.
    """
    config = RunConfig.read(folder)
    config = replace(
        config,
        data=data or config.data,
        limit_test=limit_test or config.limit_test,
        device=resolve_device("auto"),
    )
    trainer = build_trainer(config)
    path = folder / "model.pt"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no model.pt: did its training end? Go on with train ... --resume")
    try:
        state = torch.load(path, map_location=config.device, weights_only=True)
        trainer.net.load_state_dict(state["network"])
    except Exception as error:
        raise ValueError(f"{path} does not hold the model of this run: {error}") from error
    sets = load_data(config)
    trainer.encoder = sets.encoder or trainer.encoder
    samples = head(sets.train, limit_test) if training_set else sets.test
    evaluation = replace(trainer.evaluate(batches(samples, TEST_BATCH)), split=sets.split)
    statistics: Statistics | None = None
    for x, _ in batches(head(samples, ANALYSED), TEST_BATCH):
        found = analyse(trainer.net, lambda x=x: trainer.predict(x))  # type: ignore[misc]
        statistics = found if statistics is None else statistics + found
    assert statistics is not None
    return RunEvaluation(evaluation, statistics)


def task_of(config: RunConfig) -> Task:
    """The task of a run, with the options chosen."""
    return TASKS[config.task].configured(steps=config.steps, device=config.device, options=config.options)


def load_data(config: RunConfig) -> Sets:
    """The training and test set of a run, cut to its limits."""
    task = task_of(config)
    if task.needs_data and config.data is None:
        raise ValueError(f"{config.task} is read from files that you have: name their folder with --data DIR")
    sets = task.load(None if config.data is None else Path(config.data))
    return sets._replace(train=head(sets.train, config.limit_train), test=head(sets.test, config.limit_test))


def build_trainer(config: RunConfig, device: torch.device | None = None) -> BRPTrainer:
    """The trainer of a run, its network freshly drawn from torch's generator; on ``config.device`` when None."""
    task = task_of(config)
    net = network(config.model, task.input_shape).to(device or config.device)
    if config.weight_decay:
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(
            net.parameters(), lr=config.lr, weight_decay=config.weight_decay
        )
    else:
        optimizer = torch.optim.Adam(net.parameters(), lr=config.lr)
    return BRPTrainer(
        net,
        num_classes=task.num_classes,
        propagation=PROPAGATIONS[config.propagation](),
        optimizer=optimizer,
        clip_norm=config.clip_norm,
        encoder=task.encoder(config.steps, config.alpha),
        engine=config.engine,  # type: ignore[arg-type]
        precision=config.precision,  # type: ignore[arg-type]
    )
