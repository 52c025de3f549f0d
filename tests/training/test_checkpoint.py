"""Checkpoint files: whole or refused; the last few and the best; a full disk; nothing in them is executed."""

from __future__ import annotations

import errno
import hashlib
import io
import logging
import os
import pickle
import resource
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from resumable import same, train, trainer_of

from snntorch_brp.runtime import files
from snntorch_brp.training.callbacks import Callback
from snntorch_brp.training.checkpoint import MAGIC, Checkpoints, DamagedCheckpoint, read_checkpoint, write_checkpoint
from snntorch_brp.training.results import EpochResult, StepResult

STATE = {"weights": torch.arange(100.0), "step": 3, "names": ["a", "b"], "nothing": None}


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "one.ckpt", STATE)
    state = read_checkpoint(tmp_path / "one.ckpt")
    assert torch.equal(state.pop("weights"), STATE["weights"])
    assert state == {key: value for key, value in STATE.items() if key != "weights"}
    assert [path.name for path in tmp_path.iterdir()] == ["one.ckpt"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "one.ckpt"
    write_checkpoint(path, STATE)
    return path.read_bytes()


@settings(max_examples=100, deadline=None)
@given(place=st.integers(0, 10**6), bit=st.integers(0, 7), cut=st.booleans())
def test_any_flipped_bit_and_any_cut_is_refused(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, place: int, bit: int, cut: bool
) -> None:
    place %= len(whole)
    damaged = bytearray(whole[:place] if cut else whole)
    if not cut:
        damaged[place] ^= 1 << bit
    path = tmp_path_factory.getbasetemp() / "damaged.ckpt"
    path.write_bytes(damaged)
    with pytest.raises(DamagedCheckpoint, match=r"damaged\.ckpt"):
        read_checkpoint(path)


class Bomb:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("way", [pickle.dump, lambda value, file: torch.save(value, file)])
def test_nothing_in_a_file_is_executed(way: object, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    way({"bomb": Bomb(tmp_path / "executed")}, buffer)  # type: ignore[operator]
    content = buffer.getvalue()
    (tmp_path / "bomb.ckpt").write_bytes(MAGIC + hashlib.sha256(content).digest() + content)
    with pytest.raises(DamagedCheckpoint, match="something else than tensors"):
        read_checkpoint(tmp_path / "bomb.ckpt")
    assert not (tmp_path / "executed").exists()


def test_resume_falls_back_to_the_newest_whole_one_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(tmp_path, epochs=1)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    older, newest = checkpoints.paths()
    newest.write_bytes(newest.read_bytes()[:-1])
    with caplog.at_level(logging.INFO):
        assert checkpoints.resume(trainer_of()) == older
    assert f"{newest} is damaged or cut off" in caplog.text
    assert f"going on from {older}" in caplog.text
    older.write_bytes(b"something else")
    with pytest.raises(DamagedCheckpoint, match="no whole checkpoint is left"):
        checkpoints.resume(trainer_of())


def test_a_state_of_another_network_is_refused(tmp_path: Path) -> None:
    train(tmp_path, epochs=1)
    other = trainer_of()
    other.net[0] = torch.nn.Linear(12, 17)
    with pytest.raises(ValueError, match=r"does not fit this trainer[\s\S]*size mismatch"):
        Checkpoints(tmp_path / "checkpoints").resume(other)


def test_other_versions_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(tmp_path, epochs=1)
    path = Checkpoints(tmp_path / "checkpoints").paths()[-1]
    state = read_checkpoint(path)
    write_checkpoint(path, {**state, "versions": {**state["versions"], "torch": "1.0"}})
    Checkpoints(tmp_path / "checkpoints").resume(trainer_of())
    assert "torch 1.0 then" in caplog.text


def test_the_last_few_and_the_best_are_kept(tmp_path: Path) -> None:
    scores: list[float] = []

    class Watch(Callback):
        def on_epoch_end(self, trainer: object, result: EpochResult) -> None:
            scores.append(result.score)

    train(tmp_path, epochs=5, callbacks=(Watch(),))
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["best.ckpt", "step-000000029.ckpt", "step-000000030.ckpt"]  # 6 steps an epoch, keep=2
    best = read_checkpoint(tmp_path / "checkpoints" / "best.ckpt")["trainer"]["progress"]["epoch"] - 1
    assert best == scores.index(max(scores)) + 1


def test_a_folder_or_a_dangling_link_is_neither_read_nor_counted(tmp_path: Path) -> None:
    train(tmp_path, epochs=1)
    folder = tmp_path / "checkpoints"
    newest = Checkpoints(folder).paths()[-1]
    (folder / "step-000009998.ckpt").mkdir()
    (folder / "step-000009999.ckpt").symlink_to("nowhere")
    assert Checkpoints(folder).resume(trainer_of()) == newest
    train(tmp_path, epochs=2)  # keeps the last two, and leaves what is no checkpoint alone
    kept = [path.name for path in Checkpoints(folder).paths()]
    assert kept == ["step-000000011.ckpt", "step-000000012.ckpt", "step-000009998.ckpt", "step-000009999.ckpt"]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_write_that_fails_leaves_the_old_file(error: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "one.ckpt"
    write_checkpoint(path, STATE)
    before = path.read_bytes()

    def fail(handle: int) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="what was there before is untouched") as raised:
        write_checkpoint(path, {"other": 1})
    assert raised.value.errno == error
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["one.ckpt"]


class Full(Callback):
    """Leaves no room for files of more than a few bytes after some steps, as a full disk does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer: object, result: StepResult) -> None:
        if trainer.progress.step == self.step:  # type: ignore[attr-defined]
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))


def test_a_run_on_a_full_disk_stops_and_can_be_resumed(tmp_path: Path) -> None:
    train(tmp_path / "never")
    try:
        with pytest.raises(OSError, match=r"step-000000009\.ckpt could not be written"):
            train(tmp_path / "full", callbacks=(Full(8),))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    names = sorted(path.name for path in (tmp_path / "full" / "checkpoints").iterdir())
    assert names == ["best.ckpt", "step-000000007.ckpt", "step-000000008.ckpt"]
    train(tmp_path / "full")
    assert same(tmp_path / "never", tmp_path / "full")


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "checkpoints" / ".step-000000001.ckpt.123.partial"
    left.parent.mkdir()
    left.write_bytes(b"half")
    train(tmp_path, epochs=1)
    assert not left.exists()
