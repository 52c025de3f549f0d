"""The command line as a user runs it."""

from __future__ import annotations

import configparser
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset

import snntorch_brp
from snntorch_brp import DirectEncoder, load
from snntorch_brp.cli import build_parser, main, train
from snntorch_brp.cli.options import picture
from snntorch_brp.data.loader import batches
from snntorch_brp.data.simulate import simulate_dvsgesture
from snntorch_brp.rules import RULES, LocalRule, trained_rule
from snntorch_brp.runs.assemble import build_trainer
from snntorch_brp.tasks.recordings import options
from snntorch_brp.tasks.registry import TASKS

SMALL = ["train", "digits", "--model", "64-20-10", "--epochs", "2", "--steps", "4", "--limit-train", "60"]


def metrics(folder: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_train_writes_a_run_folder_that_evaluate_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main([*SMALL, "--limit-test", "50", "--out", str(run)]) == 0
    printed = capsys.readouterr().out
    written = {path.name for path in run.iterdir()}
    assert {"config.json", "metrics.jsonl", "learning_curve.png", "raster.png", "membrane.png"} <= written
    assert len(metrics(run)) == 2
    assert json.loads((run / "config.json").read_text())["propagation"] == "brp"
    accuracy = f"test accuracy {json.loads((run / 'test.json').read_text())['accuracy']:.2%}"
    assert accuracy in printed
    assert main(["evaluate", str(run)]) == 0
    assert accuracy in capsys.readouterr().out  # the model that was saved is the one that was tested


def test_the_same_seed_gives_the_same_numbers(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert main([*SMALL, "--seed", str(seed), "--limit-test", "50", "--out", str(tmp_path / name)]) == 0
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")
    assert metrics(tmp_path / "a") != metrics(tmp_path / "c")


@pytest.mark.parametrize(
    "rule", ["reward-prediction", "error", "sign", "backprop", "output-only", "decolle", "e-prop", "r-stdp"]
)
def test_every_rule_has_a_name(rule: str, tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    assert main([*SMALL, "--propagation", rule, "--epochs", "1", "--limit-test", "20", "--out", out]) == 0
    handle = build_trainer(load(out).config).attached
    expected = trained_rule(rule)
    if isinstance(expected, LocalRule):
        assert (handle.propagation, handle.consolidation) == (expected.propagation, expected.consolidation)
    else:
        assert handle.propagation == expected


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["train", "mnist", "--data", "/nowhere"], "/nowhere is not a folder"),
        (["train", "digits", "--model", "Conv9"], "Conv9"),
        (["train", "digits", "--model", "64-20-7", "--epochs", "1"], "K=10"),
        (["evaluate", "/nowhere"], "/nowhere"),
    ],
)
def test_failure_is_one_clear_line(
    argv: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "run")] if argv[0] == "train" else []
    assert main([*argv, *out]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("snntorch-brp: error:")
    assert message in error


def test_a_run_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert main([*SMALL, "--out", str(tmp_path)]) == 1
    assert "holds a run already" in capsys.readouterr().err
    assert (tmp_path / "config.json").read_text() == "{}"


@pytest.mark.parametrize("wrong", [["--steps", "0"], ["--lr", "fast"], ["--propagation", "hebb"], ["--epochs", "1.5"]])
def test_a_wrong_option_ends_with_code_2(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        build_parser().parse_args(["train", "digits", *wrong])
    assert end.value.code == 2


def test_without_a_traceback_in_a_real_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "snntorch_brp", "evaluate", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "not a run folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_shows_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "mnist", "--help"])
    text = capsys.readouterr().out
    assert "Conv5x5x28-S2-FC1000-FC10" in text
    assert "(default: 50)" in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--model", "FC0-FC10"], "FC0"),
        (["--model", "Conv3x3x0-FC10"], "Conv3x3x0"),
        (["--model", "64-S0-10"], "S0"),
        (["--model", "S2"], "ends with a fully connected layer"),
        (["--model", "FC99999999999-FC10"], "GiB"),
        (["--model", f"FC{10**30}-FC10"], "too large"),
        (["--steps", "1000000000000"], "GiB"),
    ],
)
def test_sizes_that_cannot_be_are_refused(
    argv: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "digits", "--limit-train", "60", *argv, "--out", str(tmp_path / "run")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "argv",
    [
        ["--seed", str(2**64)], ["--out", ""], ["--validation", "1"], ["--workers", "-1"], ["--steps", "9" * 40],
        ["--propagation", "x"], ["--propagation", "nowhere:Rule"], ["--propagation", "json:dumps"],
        ["--consolidation", "snntorch_brp:BRP"], ["--consolidation", ":"], ["--encoder", "none"], ["--regions", "0"],
        ["--augment", "mixup"],
    ],
)  # fmt: skip
def test_wrong_use_is_one_line_and_code_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["train", "digits", *argv])
    assert end.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_rules_regions_and_encoders_are_chosen_from_the_shell(tmp_path: Path) -> None:
    chosen = ["--propagation", "dfa", "--consolidation", "stdp", "--encoder", "direct", "--hidden-lr", "0.01"]
    convolution = ["--model", "Conv3x3x4-S2-FC10", "--regions", "2", "--epochs", "1", "--limit-test", "20"]
    convolution += ["--augment", "crop"]
    assert main([*SMALL, *chosen, *convolution, "--out", str(tmp_path / "run")]) == 0
    run = load(tmp_path / "run")
    assert run.config.propagation == "error"  # one name a rule
    assert run.config.consolidation == "stdp"
    assert run.config.augment == "crop"
    assert isinstance(run.encoder, DirectEncoder)
    assert (10, 4, 2, 2) in {tuple(buffer.shape) for buffer in run.feedback.buffers()}
    optimizer = build_trainer(run.config).optimizer
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, TASKS["digits"].lr]  # hidden layers first
    assert main(["evaluate", str(tmp_path / "run"), "--device", "cpu"]) == 0


def test_a_class_of_the_users_own_is_a_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_rules.py").write_text("from snntorch_brp import BRP\nclass Mine(BRP):\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    options = ["--propagation", "own_rules:Mine", "--epochs", "1", "--limit-test", "20"]
    assert main([*SMALL, *options, "--out", str(tmp_path / "run")]) == 0
    assert type(build_trainer(load(tmp_path / "run").config).attached.propagation).__name__ == "Mine"


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"snntorch-brp {snntorch_brp.__version__}\n"


def test_a_user_without_a_home_has_a_cache_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert Path(options(split="corpus")["cache"].default or "").is_relative_to(tmp_path)


def test_a_raster_goes_into_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong, message in ((tmp_path, "is a folder"), (tmp_path / "a.txt", "no kind of picture"), ("", "no name")):
        with pytest.raises(SystemExit) as end:
            main(["shift", "xor", "--raster", str(wrong)])
        assert end.value.code == 2
        assert message in capsys.readouterr().err
    assert picture(str(tmp_path / "raster")) == tmp_path / "raster.png"


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT"])
def test_an_environment_of_something_else_than_numbers_is_told(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for usual in ("RANK", "WORLD_SIZE"):
        monkeypatch.setenv(usual, "1")
    monkeypatch.setenv(name, "x")
    assert main([*SMALL, "--out", str(tmp_path / "run")]) == 1
    assert f"{name} must be a whole number" in capsys.readouterr().err


def test_a_rank_alone_silences_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert main([*SMALL, "--epochs", "1", "--limit-test", "20", "--out", str(tmp_path / "run")]) == 0
    assert "test accuracy" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--frames", "abc"], "--frames must be a whole number, got 'abc'"),
        (["--cache", ""], "--cache '' names no folder"),
        (["--split-seed", "abc"], "--split-seed must be a whole number, got 'abc'"),
        (["--speaker", "ann"], "goes with --split speaker"),
    ],
)
def test_options_of_a_task_are_told_by_name(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulate_dvsgesture(tmp_path, seed=0)
    small = ["--steps", "3", "--epochs", "1", "--limit-train", "10", "--out", str(tmp_path / "run")]
    assert main(["train", "dvsgesture", "--data", str(tmp_path), *small, *options]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


class Killed(TensorDataset):
    """Its worker is killed, as by a system without memory."""

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def test_a_killed_data_worker_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read(*args: object, **kwargs: object) -> None:
        list(batches(Killed(torch.rand(4, 2), torch.zeros(4)), 2, workers=1))

    monkeypatch.setattr(train, "train_run", read)
    assert main([*SMALL, "--out", str(tmp_path / "run")]) == 1
    assert "error: a process that reads data ahead was killed" in capsys.readouterr().err


def test_ctrl_c_while_importing_is_one_line() -> None:
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[2] / "setup.cfg")
    command = setup["options.entry_points"]["console_scripts"].split("=")[1].strip()
    module, function = command.split(":")
    script = f"""
import sys

class Press:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Press())
from {module} import {function}
sys.exit({function}())
"""
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=root)
    assert (done.returncode, done.stderr) == (130, "snntorch-brp: interrupted\n")


def test_rules_are_listed_and_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules"]) == 0
    listed = capsys.readouterr().out
    for name, rule in RULES.items():
        assert f"{name} ({rule.facts.paper})" in listed
    assert main(["rules", "e-prop"]) == 0
    assert "A solution to the learning dilemma" in capsys.readouterr().out
    assert main(["rules", "eprop"]) == 1
    assert "there is no rule 'eprop': choose from drtp" in capsys.readouterr().err


def test_a_rule_that_says_how_layers_learn_takes_no_other_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--propagation", "decolle", "--consolidation", "stdp"]) == 1
    assert "DECOLLE says itself how a layer learns" in capsys.readouterr().err


def test_a_training_ends_by_saying_what_to_try_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "run")
    assert main([*SMALL, "--epochs", "1", "--limit-test", "20", "--propagation", "brp", "--out", out]) == 0
    evaluate, again = capsys.readouterr().out.partition("next: ")[2].splitlines()
    assert main(shlex.split(evaluate)[1:]) == 0
    expected = [*SMALL, "--epochs", "1", "--limit-test", "20", "--propagation", "reward-prediction"]
    assert shlex.split(again) == ["snntorch-brp", *expected]
    assert build_parser().parse_args(expected).propagation == "reward-prediction"
