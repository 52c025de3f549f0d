"""The table beside NeuroTrain's: the networks are theirs, the published figures stay apart from what was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from snntorch_brp.models import network
from snntorch_brp.paper import peers
from snntorch_brp.paper.budgets import BUDGETS
from snntorch_brp.paper.datasets import MNIST
from snntorch_brp.paper.lab import Lab, NotFinishedError
from snntorch_brp.runs.config import RunConfig
from snntorch_brp.tasks.registry import TASKS

BUDGET = replace(BUDGETS["quick"], train=30, test=20, seeds=2, same_seeds=True, epochs=1)


def test_both_networks_are_trained_and_stand_beside_the_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "DATASETS", (MNIST,))  # the digits stand in
    monkeypatch.setattr(peers, "RULES", {"predsim": "PredSim", "output-only": "hidden layers at rest"})
    with pytest.raises(NotFinishedError, match="no finished training of this table"):
        peers.reproduce(Lab(tmp_path, budget=BUDGET, finished=True))
    result = peers.reproduce(Lab(tmp_path, budget=BUDGET))
    measured = [row for row in result.rows if row["source"] == "measured"]
    assert [(row["network"], row["rule"], row["seeds"]) for row in measured] == [
        ("FC256-FC10", "PredSim", 2),
        ("FC256-FC10", "hidden layers at rest", 2),
        (peers.CONVOLUTIONS, "PredSim", 2),
        (peers.CONVOLUTIONS, "hidden layers at rest", 2),
    ]
    printed = {(row["kind"], row["rule"]): row["accuracy"] for row in result.rows if row["source"] == "published"}
    assert printed["fully connected", "BPTT"] == 97.8
    assert printed["convolutions", "TP"] == 98.2
    assert len(printed) == 8
    assert len(result.verdict) == 2
    shown = peers.reproduce(Lab(tmp_path, budget=BUDGET, finished=True))
    assert [row["accuracy"] for row in shown.rows] == [row["accuracy"] for row in result.rows]


def test_all_that_the_full_table_asks_for_can_be_made(tmp_path: Path) -> None:
    """Networks that fit their data, rules that the trainer knows, 20 epochs."""
    lab = Lab(tmp_path, budget=BUDGETS["paper"])
    for dataset in peers.DATASETS:
        task = TASKS[dataset.task]
        for notation in peers.NETWORKS[dataset.name].values():
            sizes = [p.shape[0] for p in network(notation, task.input_shape).parameters()]
            assert sizes[-1] == 10
    (digits,) = lab.datasets(MNIST)
    for rule in peers.RULES:
        config = lab.plan(digits, rule, 0, epochs=peers.EPOCHS, changes={"model": "FC256-FC10"}).config
        assert isinstance(config, RunConfig)
        assert config.epochs == 20
