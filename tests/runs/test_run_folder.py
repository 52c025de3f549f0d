"""A run folder belongs to one run: nothing is mixed up, replaced unasked, or left behind by a start that failed."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from snntorch_brp import RateEncoder, load, unroll
from snntorch_brp.cli import main
from snntorch_brp.data.images import load_digits
from snntorch_brp.runs.config import RunConfig
from snntorch_brp.runs.folder import FILES, locked
from snntorch_brp.runs.run import train_run
from snntorch_brp.tasks.registry import TASKS
from snntorch_brp.training.checkpoint import MAGIC, read_checkpoint

SMALL = ["train", "digits", "--model", "64-10-10", "--steps", "3", "--limit-train", "60", "--limit-test", "20"]
SMALL += ["--no-tensorboard"]
ONE = [*SMALL, "--epochs", "1"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert main([*ONE, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_that_a_run_writes_is_known(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} <= set(FILES)
    assert not (finished / ".lock").exists()


def test_checkpoints_of_another_run_are_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    assert main([*ONE, "--seed", "7", "--propagation", "error", "--out", str(other)]) == 0
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(other / "checkpoints", run / "checkpoints")
    before = content(run)
    assert main([*ONE, "--out", str(run), "--resume"]) == 1
    said = capsys.readouterr().err
    assert "is of another run" in said
    assert "propagation='error', and not 'brp'" in said
    assert content(run) == before


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_checkpoints_without_settings_are_never_used(
    run: Path, resume: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "config.json").unlink()
    before = content(run)
    assert main([*ONE, "--lr", "0.1", "--out", str(run), *resume]) == 1
    assert "checkpoints" in capsys.readouterr().err
    assert content(run) == before


def test_files_of_the_user_stay_unless_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("model.pt", "raster.png", "notes.txt"):
        (tmp_path / name).write_text("mine")
    assert main([*ONE, "--out", str(tmp_path)]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert content(tmp_path) == {name: b"mine" for name in ("model.pt", "raster.png", "notes.txt")}
    assert main([*ONE, "--out", str(tmp_path), "--overwrite", "--model", "64-10-7"]) == 1
    assert (tmp_path / "model.pt").read_text() == "mine"  # a start that fails replaces nothing
    assert main([*ONE, "--out", str(tmp_path), "--overwrite"]) == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"
    read_checkpoint(tmp_path / "model.pt")


@pytest.mark.parametrize("wrong", [["--model", "64-10-7"], ["--model", "Conv9"], ["--regions", "2", "--model", "9-10"]])
def test_a_start_that_failed_leaves_nothing(wrong: list[str], tmp_path: Path) -> None:
    out = tmp_path / "deep" / "run"
    assert main([*ONE, *wrong, "--out", str(out)]) == 1
    assert not out.parent.exists()
    assert main([*ONE, "--out", str(out)]) == 0


def test_a_first_step_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from snntorch_brp.training.executor import Executor

    with monkeypatch.context() as patch:
        patch.setattr(Executor, "learn", lambda *args: (_ for _ in ()).throw(RuntimeError("worker died")))
        with pytest.raises(RuntimeError, match="worker died"):
            main([*ONE, "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def _hold(folder: Path, ready: Any, go: Any) -> None:
    with locked(folder):
        ready.set()
        go.wait(30)


def test_a_second_process_is_kept_out(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    context = multiprocessing.get_context("fork")
    ready, go = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(run, ready, go))
    process.start()
    assert ready.wait(30)
    assert main([*ONE, "--out", str(run), "--resume"]) == 1
    assert "another process is training" in capsys.readouterr().err
    process.kill()  # the system gives the lock back
    process.join()
    assert main([*ONE, "--out", str(run), "--resume"]) == 0


def _race(number: int, folder: Path, barrier: Any, results: Any) -> None:
    config = RunConfig(
        "digits", None, "64-10-10", "brp", 3, 1.0, 1, 1e-3, "constant", 20, number, "cpu", limit_train=40
    )
    barrier.wait()
    try:
        train_run(config, folder, progress=False)
        results.put(number)
    except FileExistsError:
        results.put(None)


def test_of_two_starts_at_once_one_trains(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(2), context.Queue()
    processes = [context.Process(target=_race, args=(n, tmp_path / "run", barrier, results)) for n in range(2)]
    for process in processes:
        process.start()
    winners = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert winners.count(None) == 1
    winner = next(number for number in winners if number is not None)
    assert RunConfig.read(tmp_path / "run").seed == winner
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        assert read_checkpoint(path)["about"]["seed"] == winner


def test_what_killed_writers_left_is_removed(run: Path) -> None:
    for place in (run / ".metrics.jsonl.1.partial", run / "checkpoints" / ".x.ckpt.1.partial"):
        place.write_text("half")
    assert main([*ONE, "--out", str(run), "--resume"]) == 0
    assert not list(run.rglob("*.partial"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task", "imagenet"), ("propagation", "x"), ("consolidation", "x"), ("steps", "20"), ("steps", 0),
        ("lr", "x"), ("lr", float("nan")), ("model", 5), ("options", None), ("options", {"frames": "1"}),
        ("limit_test", "x"), ("epochs", 1.5), ("epochs", True), ("seed", 2**64), ("device", "tpu"),
        ("validation", 1), ("colour", "red"),
    ],
)  # fmt: skip
def test_edited_settings_are_told_by_name(
    name: str, value: object, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(settings | {name: value}))
    assert main(["evaluate", str(run)]) == 1
    said = capsys.readouterr().err
    assert "config.json is damaged" in said
    assert name in said


@pytest.mark.parametrize("text", ["[1]", "{}", "null", "\\xff", '"text"'])
def test_settings_that_are_none_are_told(text: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "config.json").write_bytes(text.encode().decode("unicode_escape").encode("latin-1"))
    assert main(["evaluate", str(run)]) == 1
    assert "config.json is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("state", [[1], {}, {"trainer": {}}, {"trainer": {}, "about": {}, "versions": {}}])
def test_checkpoints_with_wrong_content_are_told(state: object, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    for path in (run / "checkpoints").glob("step*"):
        path.write_bytes(MAGIC + hashlib.sha256(content).digest() + content)
    assert main([*ONE, "--out", str(run), "--resume"]) == 1
    assert "snntorch-brp: error:" in capsys.readouterr().err


def test_a_folder_or_a_dangling_link_in_place_of_a_checkpoint_is_passed_over(run: Path) -> None:
    (run / "checkpoints" / "step-000009998.ckpt").mkdir()
    (run / "checkpoints" / "step-000009999.ckpt").symlink_to("nowhere")
    model = (run / "model.pt").read_bytes()
    assert main([*ONE, "--out", str(run), "--resume"]) == 0
    assert (run / "model.pt").read_bytes() == model


def test_a_finished_run_without_checkpoints_is_not_trained_again_unasked(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(run / "checkpoints")
    assert main([*ONE, "--out", str(run), "--resume"]) == 1
    assert "no checkpoint left" in capsys.readouterr().err


def test_a_changed_bit_of_the_model_is_found(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = bytearray((run / "model.pt").read_bytes())
    content[len(content) // 2] ^= 2
    (run / "model.pt").write_bytes(content)
    assert main(["evaluate", str(run)]) == 1
    assert "checksum" in capsys.readouterr().err
    with pytest.raises(ValueError, match="checksum"):
        load(run)


def test_a_model_of_another_run_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ONE, "--lr", "0.1", "--out", str(tmp_path / "other")]) == 0
    shutil.copy(tmp_path / "other" / "model.pt", run / "model.pt")
    assert main(["evaluate", str(run)]) == 1
    assert "other lr" in capsys.readouterr().err


def test_load_gives_the_trained_network(run: Path) -> None:
    trained = load(run)
    stored = read_checkpoint(run / "model.pt")
    assert not trained.net.training
    assert all(torch.equal(value, stored["network"][name]) for name, value in trained.net.state_dict().items())
    assert torch.equal(trained.feedback.seed, stored["feedback"]["seed"])
    assert isinstance(trained.encoder, RateEncoder)
    assert trained.config.model == "64-10-10"
    x = load_digits(train=False).tensors[0][:5]
    assert unroll(trained.net, trained.encoder(x)).shape == (3, 5, 10)


def test_processes_with_other_settings_are_told(tmp_path: Path) -> None:
    script = tmp_path / "rank.sh"
    script.write_text(
        f'[ "$RANK" = 1 ] && X="--lr 0.5"; exec {sys.executable} -m snntorch_brp {" ".join(ONE)} --out "$1" $X\n'
    )
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python", "bash"]
    done = subprocess.run(
        [sys.executable, *torchrun, str(script), str(tmp_path / "run")], capture_output=True, text=True
    )
    assert done.returncode != 0
    assert f"lr is {TASKS['digits'].lr} on rank 0 and 0.5 on rank 1" in done.stderr
    assert not (tmp_path / "run").exists()
