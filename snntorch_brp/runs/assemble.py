"""From the settings of a run to its task, its data and its trainer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snntorch_brp.consolidation import consolidation_named
from snntorch_brp.data.loader import batches, head
from snntorch_brp.encoding import DirectEncoder, RateEncoder
from snntorch_brp.feedback import Feedback
from snntorch_brp.initialization import calibrate
from snntorch_brp.learning_rates import parameter_groups
from snntorch_brp.rules import LocalRule, trained_rule
from snntorch_brp.runs.config import SCHEDULES, RunConfig
from snntorch_brp.runs.demand import check_memory
from snntorch_brp.runs.holdout import hold_back
from snntorch_brp.runs.networks import network_of
from snntorch_brp.runtime import distributed
from snntorch_brp.tasks.base import Task, TrainTest
from snntorch_brp.tasks.registry import task_named
from snntorch_brp.training import BRPTrainer

TEST_BATCH = 250
CALIBRATED = 50  # training samples that a calibrated start is measured on
CURRENT_MEAN, CURRENT_STD = 0.5, 0.3  # of the currents, in thresholds: about one neuron in ten fires, as of the labels


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
    rates = config.hidden_lr is not None
    groups: Any = parameter_groups(net, lr=config.lr, hidden_lr=config.hidden_lr) if rates else net.parameters()
    if config.weight_decay:
        return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay)
    return torch.optim.Adam(groups, lr=config.lr)


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
        distributed.broadcast(trainer.net.state_dict().values())  # processors may round in ways of their own
    return trainer
