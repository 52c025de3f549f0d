"""A run goes on with the data and the settings that it was started with, or says why not; idle settings are told."""

from __future__ import annotations

import json
import logging
import random
import struct
from dataclasses import asdict, replace
from pathlib import Path

import matplotlib
import pytest
import torch
from commands import command
from torch.utils.data import Dataset, TensorDataset

from snntorch_brp.paper.budgets import BUDGETS
from snntorch_brp.paper.datasets import MNIST, DatasetInUse
from snntorch_brp.paper.lab import Lab
from snntorch_brp.paper.stored import Run, stored_name
from snntorch_brp.runs.identity import fingerprint, samples_of
from snntorch_brp.tasks.registry import TASKS
from snntorch_brp.training.checkpoint import read_checkpoint, write_checkpoint

RUN = ["--model", "784-6-10", "--steps", "2", "--epochs", "2", "--batch-size", "10"]
RUN += ["--no-tensorboard", "--device", "cpu"]


def mnist(folder: Path, seed: int = 0) -> Path:
    """MNIST with a handful of images."""
    folder.mkdir(exist_ok=True)
    for part, count in (("train", 40), ("t10k", 20)):
        images = struct.pack(">iiii", 2051, count, 28, 28) + random.Random(seed + count).randbytes(784 * count)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(images)
        labels = bytes(i % 10 for i in range(count))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">ii", 2049, count) + labels)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> list[str]:
    """A run that has ended one epoch early, and how it goes on."""
    matplotlib.use("agg")
    argv = ["train", "mnist", *RUN, "--data", str(mnist(tmp_path / "data")), "--out", str(tmp_path / "run")]
    said = command(argv)
    assert said.code == 0, said.err
    return [*argv, "--resume"]


def test_a_run_whose_data_have_changed_is_not_gone_on_with(run: list[str], tmp_path: Path) -> None:
    mnist(tmp_path / "data", seed=1)
    said = command(run)
    assert said.code == 1
    assert "step-000000008.ckpt is of another run: it was trained on other data (train: 36 samples, " in said.err
    mnist(tmp_path / "data")
    assert command(run).code == 0


def test_a_test_on_other_data_is_told_unless_it_was_asked_for(
    run: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    evaluate = ["evaluate", str(tmp_path / "run"), "--device", "cpu"]
    assert command(evaluate).code == 0
    assert "other data" not in caplog.text
    mnist(tmp_path / "data", seed=1)
    assert command([*evaluate, "--data", str(tmp_path / "data")]).code == 0
    assert "other data" not in caplog.text
    assert command(evaluate).code == 0
    assert "model.pt: it was trained on other data (train: 36 samples, " in caplog.text


def test_a_checkpoint_that_says_nothing_of_its_data_is_gone_on_with(run: list[str], tmp_path: Path) -> None:
    for path in (tmp_path / "run" / "checkpoints").glob("*.ckpt"):
        state = read_checkpoint(path)
        del state["about"]["samples"]
        write_checkpoint(path, state)
    assert command(run).code == 0


class Odd(Dataset):
    """Samples of every kind that a data set may give."""

    def __init__(self, changed: int | None = None) -> None:
        self.changed = changed

    def __len__(self) -> int:
        return 100

    def __getitem__(self, place: int) -> tuple[object, object]:
        x = torch.ones(2, 3, dtype=torch.bfloat16) * place
        return x.T if place != self.changed else x.T + 1, place % 3


def test_fingerprints_tell_data_apart() -> None:
    assert fingerprint(Odd()) == fingerprint(Odd())
    assert fingerprint(Odd(changed=99)) != fingerprint(Odd()) != fingerprint(Odd(changed=0))
    zeros, labels = torch.zeros(3, 4), torch.arange(3)
    assert fingerprint(TensorDataset(zeros, labels)) != fingerprint(TensorDataset(zeros.view(3, 2, 2), labels))
    assert fingerprint(TensorDataset(zeros, labels)) != fingerprint(TensorDataset(zeros, labels.flip(0)))
    assert fingerprint(TensorDataset(zeros[:0], labels[:0])).startswith("0 samples")


IDLE = {
    "--regions 2": "--regions 2 has no effect: 64-6-10 has no convolutional layer",
    "--propagation backprop --consolidation stdp": "--consolidation stdp has no effect under backprop",
    "--propagation output-only --hidden-lr 0.1": "--hidden-lr 0.1 has no effect under output-only",
    "--encoder direct --alpha 0.3": "--alpha 0.3 has no effect with --encoder direct",
    "--model Conv3x3x2-S2-FC10 --regions 2 --alpha 0.3 --hidden-lr 0.01 --consolidation stdp": None,
}


def test_settings_without_an_effect_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    matplotlib.use("agg")
    for number, (options, message) in enumerate(IDLE.items()):
        caplog.clear()
        argv = ["train", "digits", *RUN, "--limit-train", "20", "--limit-test", "20", "--model", "64-6-10"]
        with caplog.at_level(logging.WARNING):
            said = command([*argv, "--epochs", "1", "--out", str(tmp_path / str(number)), *options.split()])
        assert said.code == 0, said.err
        assert (message or "") in caplog.text
        assert ("has no effect" in caplog.text) == (message is not None)


def test_what_is_stored_of_other_data_is_not_shown_for_these(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "out", budget=BUDGETS["quick"])
    dataset = DatasetInUse(MNIST, "mnist", mnist(tmp_path / "data"))
    config = lab.plan(dataset, "brp", 0).config
    epochs = [{"validation_accuracy": 0.5}] * config.epochs
    elsewhere = {**asdict(config), "data": str(tmp_path / "moved")}
    stored = Run(elsewhere, "MNIST", "MNIST", "its own", 40, 20, "a machine", epochs)
    path = lab.out / "runs" / f"{stored_name(config, None)}.json"
    path.write_text(json.dumps(asdict(stored)))
    assert lab.train(dataset, "brp", 0) == stored  # of before this was kept
    samples = samples_of(TASKS["mnist"].load(tmp_path / "data"))
    path.write_text(json.dumps(asdict(replace(stored, samples=samples))))
    assert lab.train(dataset, "brp", 0).samples == samples
    path.write_text(json.dumps(asdict(replace(stored, samples={**samples, "train": "40 samples, 00000000"}))))
    with pytest.raises(ValueError, match=r"\.json is no stored training .*: it was trained on other data \(train: 40"):
        lab.train(dataset, "brp", 0)
