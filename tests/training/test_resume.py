"""A run that was stopped anywhere ends like the one that was not, bit for bit."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from resumable import Noisy, same, train, trainer_of

from snntorch_brp.cli import main
from snntorch_brp.data.loader import batches, part_of
from snntorch_brp.training.callbacks import Callback, EarlyStopping
from snntorch_brp.training.checkpoint import Checkpoints, read_checkpoint
from snntorch_brp.training.results import StepResult


class Stop(Callback):
    """Does something after a step, before the checkpoint that would be written next."""

    def __init__(self, step: int, what: object) -> None:
        self.step, self.what = step, what

    def on_step_end(self, trainer: object, result: StepResult) -> None:
        if trainer.progress.step == self.step:  # type: ignore[attr-defined]
            self.what()  # type: ignore[operator]


class Cut(Exception):
    """Power is lost."""


def cut() -> None:
    raise Cut


@pytest.fixture(scope="module", params=[0, 2], ids=["alone", "two workers"])
def never(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    folder = tmp_path_factory.mktemp("never")
    train(folder, workers=request.param)
    return folder, request.param


@pytest.mark.parametrize(
    ("stops", "every"),
    [([1, 3], 1), ([6], 1), ([7, 13], 1), ([11], 4), ([15], None)],
    ids=["within the first epoch", "at its last step", "within others", "between checkpoints", "one an epoch"],
)
def test_a_run_cut_off_anywhere_ends_alike(
    never: tuple[Path, int], stops: list[int], every: int | None, tmp_path: Path
) -> None:
    folder, workers = never
    for step in stops:
        with pytest.raises(Cut):
            train(tmp_path, every=every, workers=workers, callbacks=(Stop(step, cut),))
    train(tmp_path, every=every, workers=workers)
    assert same(folder, tmp_path)


def test_checkpoints_do_not_change_a_run(never: tuple[Path, int], tmp_path: Path) -> None:
    folder, workers = never
    train(tmp_path, every=None, workers=workers)
    assert same(folder, tmp_path)


@pytest.mark.slow
def test_twenty_kills_at_random_moments(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "helpers" / "resumable.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "20", "8"], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["killed"] == 20
    assert all(found["equal"]), found
    assert len(set(found["steps"])) > 1  # not all before the first step


def test_ctrl_c_ends_after_the_step_with_a_checkpoint(tmp_path: Path) -> None:
    train(tmp_path / "never")
    press = Stop(8, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt, match="stopped after step 8, in epoch 2"):
        train(tmp_path / "stopped", every=None, callbacks=(press,))
    assert [path.name for path in Checkpoints(tmp_path / "stopped" / "checkpoints").paths()][
        -1
    ] == "step-000000008.ckpt"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    train(tmp_path / "stopped")
    assert same(tmp_path / "never", tmp_path / "stopped")


SMALL = ["train", "digits", "--model", "64-20-10", "--epochs", "2", "--steps", "4", "--limit-train", "60"]
SMALL += ["--limit-test", "40", "--batch-size", "10", "--weights", "calibrated"]


def test_the_command_line_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    never, stopped = tmp_path / "never", tmp_path / "stopped"
    assert main([*SMALL, "--out", str(never)]) == 0
    with monkeypatch.context() as patch:
        saves = Checkpoints.on_step_end

        def save_and_stop(self: Checkpoints, trainer: object, result: StepResult) -> None:
            saves(self, trainer, result)
            if trainer.progress.step == 4:  # type: ignore[attr-defined]
                os.kill(os.getpid(), signal.SIGINT)

        patch.setattr(Checkpoints, "on_step_end", save_and_stop)
        assert main([*SMALL, "--checkpoint-every", "3", "--out", str(stopped)]) == 130
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "stopped after step 4" in said
    command = shlex.split(said.split("go on with: snntorch-brp ")[1])
    assert main(command) == 0
    assert (never / "metrics.jsonl").read_bytes() == (stopped / "metrics.jsonl").read_bytes()
    first, second = (read_checkpoint(folder / "model.pt") for folder in (never, stopped))
    for part in ("network", "feedback"):
        assert all(torch.equal(value, second[part][key]) for key, value in first[part].items())
    model = (stopped / "model.pt").read_bytes()
    assert main(command) == 0  # a run that has ended is left as it is
    assert (stopped / "model.pt").read_bytes() == model
    assert main([*command, "--lr", "0.5"]) == 1
    assert "lr=" in capsys.readouterr().err


def test_a_run_that_stopped_early_stays_stopped() -> None:
    trainer = trainer_of()
    data = batches(Noisy(40), 10, shuffle=True)
    results = trainer.fit(data, epochs=50, callbacks=[EarlyStopping(patience=2)], progress=False)
    assert len(results) < 50
    best = max(range(len(results)), key=lambda i: (results[i].score, -i))
    assert len(results) == best + 3
    assert "no better accuracy" in (trainer.stopped or "")
    again = trainer_of()
    again.load_state_dict(trainer.state_dict())
    assert len(again.fit(data, epochs=50, callbacks=[EarlyStopping(patience=2)], progress=False)) == len(results)


def test_a_loader_that_does_not_know_its_place_is_told(tmp_path: Path) -> None:
    plain = torch.utils.data.DataLoader(Noisy(40), 10)
    with pytest.raises(TypeError, match="StatefulDataLoader"):
        trainer_of().fit(plain, epochs=1, callbacks=[Checkpoints(tmp_path, every=1)], progress=False)
    trainer_of().fit(plain, epochs=1, callbacks=[Checkpoints(tmp_path)], progress=False)  # between epochs it need not


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_parts_of_a_batch_do_not_overlap(world_size: int) -> None:
    for count in range(12):
        rows = [list(range(count))[part_of(count, rank, world_size)] for rank in range(world_size)]
        assert list(itertools.chain(*rows)) == list(range(count))
        assert max(map(len, rows)) - min(map(len, rows)) <= 1
