"""The records of all tasks: complete, in agreement with each other and with the rest of the package."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from own_things import STRIPES
from torch import nn

from snntorch_brp.cli import build_parser, main
from snntorch_brp.models import network
from snntorch_brp.paper import published
from snntorch_brp.paper.budgets import BUDGETS, OLD_NAMES
from snntorch_brp.paper.datasets import ALL, DatasetInUse, PaperDataset
from snntorch_brp.paper.lab import Lab
from snntorch_brp.paper.table1 import CASES
from snntorch_brp.propagation import PROPAGATIONS
from snntorch_brp.rule_study.courses import COURSES
from snntorch_brp.runs.config import RunConfig
from snntorch_brp.runs.run import train_run
from snntorch_brp.tasks.base import Option, Task
from snntorch_brp.tasks.files import check, find_data
from snntorch_brp.tasks.protocol import BUDGETS as BUDGET_NAMES
from snntorch_brp.tasks.protocol import FrozenConv, Override, Protocol
from snntorch_brp.tasks.registry import TASKS, checked, task_named


def variants(task: Task) -> list[Task]:
    """The task in each of its layouts, where it has any."""
    layouts = task.options["layout"].choices if "layout" in task.options else ()
    options = [{"layout": layout} for layout in layouts] or [{}]
    return [task.configured(steps=task.steps, device="cpu", options=each) for each in options]


@pytest.mark.parametrize("name", TASKS)
def test_every_network_of_a_record_fits_its_samples(name: str) -> None:
    for task in variants(TASKS[name]):
        for notation in (task.network, *(own.network for own in task.budgets.values() if own.network)):
            with torch.device("meta"):
                net = network(notation, task.input_shape, neuron=nn.Identity)
                assert net(torch.zeros(2, *task.input_shape)).shape == (2, task.num_classes)


def test_the_task_of_delayed_memory_is_a_course_of_the_study_of_rules() -> None:
    assert build_parser().parse_args(["train", "memory"]).task == "memory"
    assert "memory" in {course.task for course in COURSES}
    assert {course.task for course in COURSES} <= set(TASKS)


@pytest.mark.parametrize("name", [name for name in TASKS if name != "memory"])
def test_every_task_has_a_place_in_every_part_of_the_package(name: str, tmp_path: Path) -> None:
    task = TASKS[name]
    assert task.draw is not None
    assert task.label_only is not None
    argv = ["train", name, *(["--data", "x"] if task.needs_data else [])]
    assert build_parser().parse_args(argv).task == name
    in_figures = [paper for paper in ALL if name in paper.tasks]
    assert in_figures
    for paper in in_figures:
        dataset = DatasetInUse(paper, name, tmp_path if task.needs_data else None)
        assert paper.name in dataset.label
        assert dataset.own or task.short_title in dataset.label
        for budget in BUDGETS.values():
            lab = Lab(tmp_path, budget=budget)
            for rule in PROPAGATIONS:
                config, configured = lab.plan(dataset, rule, 0)
                config.check()
                assert (config.weights == "calibrated") >= PROPAGATIONS[rule].calibrated
                assert configured.title == task.title


def test_budgets_and_rules_are_named_in_one_table_each() -> None:
    assert tuple(BUDGETS) == BUDGET_NAMES
    assert set(OLD_NAMES.values()) <= set(BUDGETS)
    assert set(CASES) == set(published.TABLE1)
    names = {paper.name for paper in ALL}
    for printed in (published.FIG6, published.TABLE3):
        assert {rule for rules in printed.values() for rule in rules} <= set(PROPAGATIONS)
        assert all(any(paper.startswith(name) for paper in names) for name in printed)
    for columns in (published.FIG8, published.FIG9):
        assert all(any(paper.startswith(name) for paper in names) for name in columns)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"short_title": ""}, "a task needs a short_title"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
        ({"lr": -1.0}, "lr must be above 0"),
        ({"input_shape": ()}, "input_shape is that of one sample"),
        ({"budgets": {"quik": Override()}}, "there is no budget 'quik'; there are quick, short, paper"),
        ({"budgets": {"quick": {"epochs": 3}}}, "must be an Override"),
        ({"options": {"layout": Option("1d", (), "")}}, "no configure that takes them"),
        (
            {"options": {"lr": Option("1", (), "")}, "configure": lambda **options: STRIPES},
            "'lr' is a setting of every",
        ),
    ],
)
def test_a_record_that_cannot_be_fails_where_it_is_made(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(STRIPES, **changes)


def test_a_misspelled_or_forgotten_field_fails_where_the_record_is_made() -> None:
    with pytest.raises(TypeError, match="label_onli"):
        replace(STRIPES, label_onli=None)
    with pytest.raises(TypeError, match="draw"):
        Task(**{name: value for name, value in vars(STRIPES).items() if name != "draw"})
    with pytest.raises(TypeError, match="epoch"):
        Override(epoch=3)
    with pytest.raises(ValueError, match="seeds of a budget must be above 0, got 0"):
        Override(seeds=0)
    with pytest.raises(ValueError, match="odd kernel"):
        FrozenConv(channels=3, kernel=4, pool=2)
    with pytest.raises(ValueError, match="must be at least 1"):
        Protocol(conv=FrozenConv(channels=3, kernel=3, pool=2), epochs=0)
    with pytest.raises(ValueError, match="there is no task 'mnits'"):
        PaperDataset("MNIST", "mnits")
    with pytest.raises(ValueError, match="has no option 'layout'"):
        PaperDataset("MNIST", "mnist", {"layout": "1d"})


def test_records_that_do_not_go_together_fail_where_the_table_is_made() -> None:
    for changed, message in (
        ({"stripes": replace(STRIPES, stands_in_for="mnits")}, "stands in for 'mnits', which is no task"),
        ({"Stripes": STRIPES}, "cannot be a task's name"),
        ({"stripes": replace(STRIPES, short_title="MNIST")}, "two tasks have the short title 'MNIST'"),
        ({"stripes": replace(STRIPES, files=TASKS["mnist"].files)}, "another task is known by the files"),
    ):
        with pytest.raises(ValueError, match=message):
            checked({**TASKS, **changed})


def test_a_task_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"there is no task 'mnits'; there are: digits, mnist, .*or module:TASK"):
        task_named("mnits")
    values = {"task": "mnits", "data": None, "model": "a", "propagation": "brp", "steps": 1, "alpha": 1.0}
    values |= {"epochs": 1, "lr": 1.0, "schedule": "cosine", "batch_size": 1, "seed": 0, "device": "cpu"}
    with pytest.raises(ValueError, match="there is no task 'mnits'"):
        RunConfig.of(values)


EXAMPLES = {  # a file that each data set's folder has
    "mnist": "mnist/train-images-idx3-ubyte.gz",
    "fashion-mnist": "fashion-mnist/t10k-labels-idx1-ubyte",
    "cifar10": "cifar/data_batch_1.bin",
    "tidigits": "tidigits/TRAIN/man/ae/1a.wav",
    "fsdd": "fsdd/recordings/0_a_0.WAV",
    "dvsgesture": "DVSGesture/ibmGestureTrain/user01_led/0.npy",
    "nmnist": "NMNIST/Test/0/1.bin",
}


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.needs_data])
def test_the_figures_and_the_check_know_a_data_set_by_the_same_files(name: str, tmp_path: Path) -> None:
    path = tmp_path / EXAMPLES[name]
    path.parent.mkdir(parents=True)
    np.save(path, np.zeros((3, 4))) if path.suffix == ".npy" else path.write_bytes(b"x")
    place = tmp_path / Path(EXAMPLES[name]).parts[0]
    assert find_data([tmp_path]) == {name: place}
    report = check(tmp_path)
    assert report.damaged or report.missing
    title = TASKS[name].short_title
    assert title in report.name


def test_fashion_mnist_takes_the_place_of_mnist_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fashion").mkdir()
    (tmp_path / "fashion" / "train-images-idx3-ubyte").touch()
    lab = Lab(tmp_path / "out", budget=BUDGETS["quick"], data=[tmp_path])
    (dataset,) = lab.datasets(ALL[0])
    assert dataset.label == "Fashion-MNIST, in place of MNIST"
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-images-idx3-ubyte").touch()
    (dataset,) = Lab(tmp_path / "out", budget=BUDGETS["quick"], data=[tmp_path]).datasets(ALL[0])
    assert dataset.label == "MNIST"
    assert main(["data", "check", str(tmp_path / "fashion")]) == 0
    assert "Fashion-MNIST" in capsys.readouterr().out


def test_a_task_is_configured_once_for_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    configured = Task.configured

    def counted(task: Task, **options: object) -> Task:
        calls.append(task.short_title)
        return configured(task, **options)

    monkeypatch.setattr(Task, "configured", counted)
    lab = Lab(tmp_path, budget=replace(BUDGETS["quick"], epochs=1, train=20, test=10))
    (dataset,) = lab.datasets(ALL[0])
    lab.train(dataset, "brp", 0)
    assert calls == ["scikit-learn's 8x8 digits"]
    config = replace(lab.plan(dataset, "brp", 0).config, model="64-8-10")
    calls.clear()
    train_run(config, tmp_path / "run")
    assert calls == ["scikit-learn's 8x8 digits"]
