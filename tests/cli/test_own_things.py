"""A task, a rule, a consolidation and a model from outside the package, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from snntorch_brp import load
from snntorch_brp.cli import main

OWN = {
    "--propagation": "own_things:Perceptron",
    "--consolidation": "own_things:LateHalf",
    "--model": "own_things:small_net",
}


def test_a_task_a_rule_and_a_model_of_the_users_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    chosen = [word for pair in OWN.items() for word in pair]
    assert main(["train", "own_things:STRIPES", *chosen, "--epochs", "20", "--lr", "0.01", "--out", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "Stripes across and along" in printed
    assert "(drawn anew, seed 1)" in printed
    config = json.loads((folder / "config.json").read_text())
    assert config["task"] == "own_things:STRIPES"
    assert {config[name.strip("-")] for name in OWN} == set(OWN.values())
    # the two classes are plain to see: a run that learns nothing tests at about a half
    assert json.loads((folder / "test.json").read_text())["accuracy"] > 0.9
    run = load(folder)
    assert run.net[1].out_features == 16
    assert type(run.config.task) is str
    assert main(["evaluate", str(folder)]) == 0
    assert "40 samples" in capsys.readouterr().out


def test_an_own_task_has_its_own_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["train", "own_things:STRIPES", "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert "36-20-2" in text
    assert "(default: 5)" in text
    assert "--data" not in text


def test_consolidations_of_the_package_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert main(["train", "own_things:STRIPES", "--consolidation", "correlation", "--out", str(folder)]) == 0
    assert load(folder).config.consolidation == "correlation"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["own_things:NOTHING"], "own_things has no 'NOTHING'"),
        (["own_things:Perceptron"], "is no snntorch_brp.tasks.base.Task"),
        (["no_such_module:STRIPES"], "is the module's folder on PYTHONPATH?"),
        (["own_things:"], "write module:NAME"),
        (["own_things:STRIPES", "--propagation", "own_things:LateHalf"], "is no subclass of snntorch_brp.Propagation"),
        (["own_things:STRIPES", "--consolidation", "own_things:Perceptron"], "no subclass of snntorch_brp.Consol"),
    ],
)
def test_what_is_not_there_is_one_line_and_code_2(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["train", *argv])
    assert end.value.code == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("own_things:no_module", "must return a torch.nn.Module, got str"),
        ("own_things:STRIPES", "is no function, but Task"),
        ("own_things:nothing", "own_things has no 'nothing'"),
    ],
)
def test_a_model_that_is_none_is_refused(
    model: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "own_things:STRIPES", "--model", model, "--out", str(tmp_path / "run")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_task_without_drawing_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "show", "own_things:STRIPES", "--out", str(tmp_path)]) == 1
    assert "its record has no 'draw'" in capsys.readouterr().err
