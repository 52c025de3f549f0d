"""Stored trainings: their names stay what they were, and what is in their files is checked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset

from snntorch_brp.cli import main, reproduce
from snntorch_brp.encoding import DirectEncoder
from snntorch_brp.label_only.folds import Fold
from snntorch_brp.label_only.study import protocol_of
from snntorch_brp.label_only.trainings import FoldTrainings, Stage, read_outcome
from snntorch_brp.paper.budgets import BUDGETS
from snntorch_brp.paper.datasets import (
    CIFAR10,
    DVSGESTURE,
    MNIST,
    TIDIGITS_1D,
    TIDIGITS_2D,
    DatasetInUse,
    PaperDataset,
)
from snntorch_brp.paper.fig5 import AngleProbe
from snntorch_brp.paper.lab import Lab
from snntorch_brp.paper.report import write_page
from snntorch_brp.paper.stored import read_stored, stored_name


def in_use(paper: PaperDataset, task: str) -> DatasetInUse:
    return DatasetInUse(paper, task, None if task == "digits" else Path("/data"))


# Names under which trainings were stored before tasks had records of their own: whoever has them keeps them.
@pytest.mark.parametrize(
    ("budget", "paper", "task", "rule", "name"),
    [
        ("paper", TIDIGITS_2D, "fsdd", "brp", "fsdd-2d-brp-T20-e100-s0-b1b2768d"),
        ("paper", MNIST, "digits", "backprop", "digits-backprop-T20-e100-s0-e1f4dbdf"),
        ("paper", MNIST, "digits", "output-only", "digits-output-only-T20-e100-s0-f31939df"),
        ("quick", MNIST, "mnist", "brp", "mnist-brp-T20-e8-s1-d6de37f5"),
        ("quick", CIFAR10, "cifar10", "brp", "cifar10-brp-T10-e8-s1-c7352f74"),
        ("quick", TIDIGITS_1D, "fsdd", "sign", "fsdd-1d-sign-T20-e8-s1-642cab72"),
        ("short", TIDIGITS_1D, "tidigits", "brp", "tidigits-1d-brp-T30-e6-s1-b30e2da4"),
        ("short", CIFAR10, "cifar10", "error", "cifar10-error-T10-e1-s1-7bd7f4e1"),
        ("short", DVSGESTURE, "nmnist", "reward-prediction", "nmnist-reward-prediction-T15-e6-s1-3d43d169"),
        ("paper", DVSGESTURE, "dvsgesture", "output-only", "dvsgesture-output-only-T60-e100-s1-eb4e3374"),
    ],
)
def test_stored_trainings_keep_their_names(
    budget: str, paper: PaperDataset, task: str, rule: str, name: str, tmp_path: Path
) -> None:
    plan = Lab(tmp_path, budget=BUDGETS[budget]).plan(in_use(paper, task), rule, int(name.split("-s")[-1][0]))
    assert stored_name(plan.config, None) == name


@pytest.mark.parametrize(
    ("budget", "paper", "task", "candidate", "stage", "digest"),
    [
        ("quick", MNIST, "digits", "brp", "trial", "7f91e89c"),
        ("short", MNIST, "mnist", "code-rectified", "test", "cd55db7f"),
        ("paper", CIFAR10, "cifar10", "backprop", "curve", "33efbcb0"),
        (
            "short",
            TIDIGITS_2D,
            "tidigits",
            "similarity",
            "trial",
            "6beb2329",
        ),
        (
            "paper",
            TIDIGITS_2D,
            "fsdd",
            "reward-prediction-mild",
            "test",
            "af972c18",
        ),
        (
            "quick",
            DVSGESTURE,
            "dvsgesture",
            "brp-centered",
            "curve",
            "91f7018d",
        ),
        ("short", DVSGESTURE, "nmnist", "error", "trial", "4bb17aa4"),
    ],
)
def test_trainings_of_the_study_keep_their_names(
    budget: str, paper: PaperDataset, task: str, candidate: str, stage: Stage, digest: str, tmp_path: Path
) -> None:
    part = TensorDataset(torch.zeros(7, 1), torch.zeros(7).long())
    fold = Fold(task, "s", "c", DirectEncoder(1), 10, part, part, part)
    protocol = protocol_of(in_use(paper, task), small=BUDGETS[budget].small_study)
    trainings = FoldTrainings(Lab(tmp_path, budget=BUDGETS[budget]), protocol, fold)
    name = trainings.path(candidate, 1e-3, seed=1, stage=stage).name
    assert name == f"ladder-{task}-{stage}-{candidate}-0.001-s1-{digest}.json"


TINY = replace(BUDGETS["quick"], epochs=1, train=20, test=10, seeds=1)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A finished training's file."""
    lab = Lab(tmp_path, budget=TINY)
    (dataset,) = lab.datasets(MNIST)
    lab.train(dataset, "brp", 0, steps=3, probe=AngleProbe)
    (path,) = (tmp_path / "runs").glob("*.json")
    return path


def test_a_stored_training_that_is_none_is_one_sentence(stored: Path) -> None:
    whole = json.loads(stored.read_text())
    assert read_stored(stored).accuracies == [100 * whole["epochs"][0]["validation_accuracy"]]
    lab = Lab(stored.parents[1], budget=TINY)
    (dataset,) = lab.datasets(MNIST)
    wrong: list[tuple[object, str]] = [
        ({}, r"it holds \{\}"),
        ([], r"it holds \[\]"),
        (None, "it holds null"),
        ({"config": {}}, "it has no 'epochs'"),
        ({**whole, "more": 1}, "it has an unknown 'more'"),
        ({**whole, "epochs": []}, r"'epochs' cannot be \[\]"),
        ({**whole, "epochs": {}}, r"'epochs' cannot be \{\}"),
        ({**whole, "epochs": [{}]}, r"'epochs' cannot be \[\{\}\]"),
        ({**whole, "epochs": [{"validation_accuracy": "1"}]}, "'epochs' cannot be"),
        ({**whole, "epochs": 2 * whole["epochs"]}, "it has 2 epochs of 1"),
        ({**whole, "train": True}, "'train' cannot be true"),
        ({**whole, "label": 3}, "'label' cannot be 3"),
        ({**whole, "config": []}, r"'config' cannot be \[\]"),
        ({**whole, "config": {}}, "of 'config', 'task' is missing"),
        ({**whole, "config": {**whole["config"], "lr": "fast"}}, "of 'config', 'lr' must be a positive number"),
        ({**whole, "found": {}}, r"'found' cannot be \{\}"),
        ({**whole, "found": []}, "'found' holds no row"),
        ({**whole, "found": [{}]}, "'found' has a row whose 'epoch' is null"),
        ({**whole, "found": [{"epoch": 0, "angles": []}]}, r"'found' has a row whose 'angles' is \[\]"),
    ]
    for values, message in wrong:
        stored.write_text(json.dumps(values))
        with pytest.raises(ValueError, match=rf"(?s){stored.name} .*{message}.*remove it, and it is trained anew"):
            lab.train(dataset, "brp", 0, steps=3, probe=AngleProbe)
    stored.write_text("{")
    with pytest.raises(ValueError, match="it is damaged"):
        read_stored(stored)


def test_a_stored_training_of_the_study_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "ladder.json"
    good = {"accuracy": 50.0, "seconds": 1.0, "machine": "cpu", "curve": [[1.0, 2.0]]}
    path.write_text(json.dumps({"outcome": good}))
    assert read_outcome(path).accuracy == 50
    wrong: list[tuple[object, str]] = [
        ({}, r"it holds \{\}"),
        ([], r"it holds \[\]"),
        ({"outcome": []}, "its 'outcome' must have accuracy, seconds, machine, curve"),
        ({"outcome": {"accuracy": 1.0}}, "its 'outcome' must have"),
        ({"outcome": {**good, "accuracy": "x"}}, "must be numbers"),
        ({"outcome": {**good, "curve": {}}}, "a pair of numbers for each epoch"),
        ({"outcome": {**good, "curve": [[1.0]]}}, "a pair of numbers for each epoch"),
    ]
    for values, message in wrong:
        path.write_text(json.dumps(values))
        with pytest.raises(ValueError, match=rf"ladder.json .*{message}.*remove it"):
            read_outcome(path)


@pytest.mark.parametrize("content", ["{}", "[]", "null", "{", '{"name": 3}'])
def test_a_result_that_is_none_is_one_sentence(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fig6.json").write_text(content)
    with pytest.raises(ValueError, match=r"fig6.json .*make it anew: snntorch-brp reproduce fig6"):
        write_page(tmp_path, ["fig6"])


def test_the_old_names_of_budgets_still_find_what_was_stored_under_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Lab] = []

    def noted(lab: Lab) -> None:
        made.append(lab)
        raise ValueError("seen")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(reproduce.FIGURES, "fig6", noted)
    for name, expected in (("cpu", "short"), ("full", "paper"), ("short", "short")):
        assert main(["reproduce", "fig6", "--budget", name, "--device", "cpu"]) == 1
        assert made[-1].budget.name == expected
        assert made[-1].out == Path("reproduced") / name
