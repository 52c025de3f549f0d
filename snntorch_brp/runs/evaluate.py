"""How the model of a run folder does on its test set."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from snntorch_brp.analysis import Statistics, analyse
from snntorch_brp.data.loader import batches, head
from snntorch_brp.runs.assemble import TEST_BATCH, build_trainer, load_data
from snntorch_brp.runs.config import RunConfig, differences, resolve_device
from snntorch_brp.runs.identity import check_samples, samples_of
from snntorch_brp.tasks.base import TrainTest
from snntorch_brp.training import BRPTrainer, Evaluation
from snntorch_brp.training.checkpoint import read_checkpoint

logger = logging.getLogger(__name__)

ANALYSED = 1000  # samples that the activity of a tested network is counted on


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
    trainer = trainer_of_run(config, folder, encoder=sets.encoder)
    if data is None and limit_test is None:
        _tell_other_data(folder, sets)
    samples = head(sets.train, limit_test) if training_set else sets.test
    evaluation = replace(trainer.evaluate(batches(samples, TEST_BATCH)), split=sets.split)
    statistics: Statistics | None = None
    for x, _ in batches(head(samples, ANALYSED), TEST_BATCH):
        spikes = trainer.encode(x, seed=0)
        found = analyse(trainer.net, lambda spikes=spikes: trainer.run(spikes))  # type: ignore[misc]
        statistics = found if statistics is None else statistics + found
    assert statistics is not None
    return RunEvaluation(evaluation, statistics)


def _tell_other_data(folder: Path, sets: TrainTest) -> None:
    """Warn if the data have changed since a model was trained."""
    then = read_checkpoint(folder / "model.pt")["about"].get("samples")
    try:
        if then is not None:
            check_samples(then, samples_of(sets))
    except ValueError as error:
        logger.warning("%s: %s", folder / "model.pt", error)


def trainer_of_run(config: RunConfig, folder: Path, *, encoder: Callable[[Tensor], Tensor] | None = None) -> BRPTrainer:
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
        settings = {name: value for name, value in state["about"].items() if name != "samples"}
        wrong = differences(RunConfig.of(settings), RunConfig.read(folder))
        if wrong:
            raise ValueError(f"it is of another run, with other {', '.join(wrong)}")
        trainer = build_trainer(config, encoder=encoder)
        trainer.net.load_state_dict(state["network"])
        trainer.feedback.load_state_dict(state["feedback"])
    except Exception as error:
        raise ValueError(f"{path} does not hold the model of this run: {error}") from error
    return trainer
