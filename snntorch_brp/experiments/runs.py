"""A training run as a folder: settings, metrics, the model and figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch.utils.data import Dataset

from snntorch_brp import plots
from snntorch_brp.data.loader import batches, head
from snntorch_brp.experiments.task import Sets, Task
from snntorch_brp.experiments.tasks import TASKS
from snntorch_brp.models import network
from snntorch_brp.propagation import (
    BRP,
    Backprop,
    ErrorProjection,
    OutputOnly,
    Propagation,
    RewardPrediction,
    SignProjection,
)
from snntorch_brp.trainer import BRPTrainer, Callback, EpochResult, Evaluation
from snntorch_brp.unroll import observe, unroll

PROPAGATIONS: dict[str, Callable[[], Propagation]] = {
    "brp": BRP,
    "reward-prediction": RewardPrediction,
    "error": ErrorProjection,
    "sign": SignProjection,
    "backprop": Backprop,
    "output-only": OutputOnly,
}
SCHEDULES = ("constant", "cosine")
TEST_BATCH = 250


@dataclass(frozen=True)
class RunConfig:
    """All settings of a run; what ``config.json`` holds.

    Attributes:
        task: Name in the table of tasks.
        data: Folder of the data set, where it needs one.
        model: The network, in the paper's notation.
        propagation: Name of the rule.
        steps: Time steps T.
        alpha: α of eq. 3.
        epochs: Passes over the training set.
        lr: Learning rate of Adam, at the start.
        schedule: "constant", or "cosine" down to 0 over the run.
        batch_size: Samples in a batch.
        seed: Seeds weights, feedback, order and encoding.
        device: "cpu" or "cuda".
        engine: How the layers are run: "auto", "attach" or "fused".
        limit_train: Train on the first so many samples only.
        limit_test: Test on the first so many samples only.
        options: What was chosen of the task's own options.
    """

    task: str
    data: str | None
    model: str
    propagation: str
    steps: int
    alpha: float
    epochs: int
    lr: float
    schedule: str
    batch_size: int
    seed: int
    device: str
    engine: str = "auto"
    limit_train: int | None = None
    limit_test: int | None = None
    options: dict[str, str | None] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> RunConfig:
        """The settings of a run folder.

        Raises:
            FileNotFoundError: If the folder holds no run.
            ValueError: If its ``config.json`` is not one of ours.
        """
        path = folder / "config.json"
        if not path.is_file():
            raise FileNotFoundError(f"{folder} is not a run folder: it has no config.json")
        try:
            return cls(**json.loads(path.read_text()))
        except (json.JSONDecodeError, TypeError) as error:
            raise ValueError(f"{path} is damaged or of another version: {error}") from None


def train_run(config: RunConfig, folder: Path, *, progress: bool = True) -> Evaluation:
    """Train as ``config`` says and fill a run folder.

    The folder gets ``config.json``, ``metrics.jsonl`` (one line an epoch), ``model.pt`` (weights and feedback
    matrices) and the figures ``learning_curve.png``, ``raster.png``, ``membrane.png`` and ``confusion.png``.

    Args:
        config: The settings.
        folder: The run folder, made where it does not exist.
        progress: Show a progress bar.

    Returns:
        The result on the test set after the last epoch.

    Raises:
        FileExistsError: If the folder holds a run already.
        ValueError: If a setting or the data does not fit.
    """
    if (folder / "config.json").exists():
        raise FileExistsError(f"{folder} holds a run already: name another folder with --out")
    torch.manual_seed(config.seed)
    trainer = build_trainer(config)
    train, test, split, encoder = load_data(config)
    trainer.encoder = encoder or trainer.encoder
    if config.schedule == "cosine":
        steps = config.epochs * -(-len(train) // config.batch_size)  # type: ignore[arg-type]
        trainer.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(trainer.optimizer, steps)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(asdict(config), indent=2) + "\n")
    results = trainer.fit(
        batches(train, config.batch_size, shuffle=True),
        epochs=config.epochs,
        validation=batches(test, TEST_BATCH),
        callbacks=[_MetricsFile(folder / "metrics.jsonl")],
        progress=progress,
    )
    torch.save(
        {"network": trainer.net.state_dict(), "feedback": trainer.attached.feedback.state_dict()}, folder / "model.pt"
    )
    evaluation = results[-1].validation
    assert evaluation is not None
    evaluation = replace(evaluation, split=split)
    _draw(config, folder, trainer, results, test)
    return evaluation


def evaluate_run(folder: Path, *, data: str | None = None, limit_test: int | None = None) -> Evaluation:
    """Test the model of a run folder.

    Args:
        folder: The run folder.
        data: Folder of the data set, if it is not where it was.
        limit_test: Test on the first so many samples only; as in training when None.

    Raises:
        FileNotFoundError: If the folder holds no run, or no model.
        ValueError: If the model does not fit the settings.
    """
    config = RunConfig.read(folder)
    changes = {"data": data or config.data, "limit_test": limit_test or config.limit_test}
    config = RunConfig(**{**asdict(config), **changes, "device": resolve_device("auto")})
    trainer = build_trainer(config)
    path = folder / "model.pt"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no model.pt: did its training end?")
    try:
        state = torch.load(path, map_location=config.device, weights_only=True)
        trainer.net.load_state_dict(state["network"])
    except Exception as error:
        raise ValueError(f"{path} does not hold the model of this run: {error}") from error
    sets = load_data(config)
    trainer.encoder = sets.encoder or trainer.encoder
    return replace(trainer.evaluate(batches(sets.test, TEST_BATCH)), split=sets.split)


def resolve_device(name: str) -> str:
    """The device meant by "auto", "cpu" or "cuda".

    Raises:
        ValueError: If there is no such device here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("there is no CUDA device here, or torch was installed without CUDA: use --device cpu")
    return name


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


def build_trainer(config: RunConfig) -> BRPTrainer:
    """The trainer of a run, its network freshly drawn from torch's generator."""
    task = task_of(config)
    net = network(config.model, task.input_shape).to(config.device)
    return BRPTrainer(
        net,
        num_classes=task.num_classes,
        propagation=PROPAGATIONS[config.propagation](),
        optimizer=torch.optim.Adam(net.parameters(), lr=config.lr),
        encoder=task.encoder(config.steps, config.alpha),
        engine=config.engine,  # type: ignore[arg-type]
    )


class _MetricsFile(Callback):
    def __init__(self, path: Path) -> None:
        self.path = path

    def on_epoch_end(self, trainer: BRPTrainer, result: EpochResult) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(result.row()) + "\n")


def _draw(config: RunConfig, folder: Path, trainer: BRPTrainer, results: list[EpochResult], test: Dataset) -> None:
    title = f"{config.task}, {config.model}, {config.propagation}"
    x, labels = next(iter(batches(test, 1)))
    assert trainer.encoder is not None
    spikes = trainer.encoder(x.to(trainer.device))
    activity = observe(trainer.net, lambda: unroll(trainer.net, spikes))
    evaluation = results[-1].validation
    assert evaluation is not None
    sample = f"{title}: test sample 0, class {int(labels[0])}"
    hidden = list(activity)[-2]
    figures = {
        "learning_curve": plots.learning_curve([result.row() for result in results], title=title),
        "raster": plots.spike_raster(activity, inputs=spikes, title=sample),
        "membrane": plots.membrane_traces(
            activity[hidden],
            threshold=float(trainer.net.get_submodule(hidden).threshold),  # type: ignore[arg-type]
            generator=torch.Generator().manual_seed(config.seed),
            title=f"{sample}, layer {hidden}",
        ),
        "confusion": plots.confusion_matrix(evaluation.confusion, title=title),
    }
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=120)
        plt.close(figure)
