"""What is chosen in a run is chosen on training data that is held back; the test set is read once, at the end."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from snntorch_brp.cli import main
from snntorch_brp.data.recordings import Recording
from snntorch_brp.paper.budgets import BUDGETS
from snntorch_brp.paper.lab import Lab
from snntorch_brp.runs.assemble import load_data
from snntorch_brp.runs.config import RunConfig
from snntorch_brp.runs.holdout import hold_back
from snntorch_brp.tasks.base import TrainTest
from snntorch_brp.tasks.recordings import RecordingOptions
from snntorch_brp.training import bars
from snntorch_brp.training import testing as testing_module
from snntorch_brp.training.checkpoint import read_checkpoint
from snntorch_brp.training.results import EpochResult, Evaluation, Progress

SMALL = ["train", "digits", "--model", "64-20-10", "--epochs", "2", "--steps", "4", "--limit-train", "60"]
SMALL += ["--limit-test", "40", "--no-tensorboard"]


def sets(count: int = 100, classes: int = 5, groups: torch.Tensor | None = None) -> TrainTest:
    labels = torch.arange(count) % classes
    train = TensorDataset(torch.arange(count)[:, None].float(), labels)
    return TrainTest(train, TensorDataset(torch.zeros(3, 1), torch.zeros(3).long()), "", groups=groups)


def numbers(dataset: object) -> set[int]:
    return {int(x) for x in dataset.tensors[0]}  # type: ignore[attr-defined]


def test_each_class_gives_its_share_and_no_sample_is_on_both_sides() -> None:
    parted = hold_back(sets(), 0.2, seed=3)
    assert parted.validation is not None
    assert numbers(parted.train) | numbers(parted.validation) == set(range(100))
    assert not numbers(parted.train) & numbers(parted.validation)
    assert parted.validation.tensors[1].bincount().tolist() == [4] * 5  # type: ignore[attr-defined]


def test_the_seed_alone_decides_what_is_held_back() -> None:
    first, again, other = (numbers(hold_back(sets(), 0.2, seed=seed).validation) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_whole_speakers_are_held_back() -> None:
    recordings = [
        Recording(Path(f"{speaker}-{label}"), label, lambda: None, speaker=speaker, split="train")
        for speaker in "abcd"
        for label in range(3)
    ]
    parted = RecordingOptions(split="speaker").part(recordings, torch.arange(12)[:, None])
    held = hold_back(parted, 0.1, seed=0)
    speaker_of = [recording.speaker for recording in recordings]
    train, validation, test = (
        {speaker_of[i] for i in numbers(part)} for part in (held.train, held.validation, held.test)
    )
    assert len(validation) == len(test) == 1
    assert train | validation | test == set("abcd")
    assert not train & validation


def test_nothing_is_held_back_at_zero_and_too_little_is_told() -> None:
    whole = sets()
    assert hold_back(whole, 0, seed=0) is whole
    with pytest.raises(ValueError, match="--validation 0"):
        hold_back(sets(3), 0.1, seed=0)


def test_one_speaker_alone_is_parted_by_class(caplog: pytest.LogCaptureFixture) -> None:
    parted = hold_back(sets(groups=torch.zeros(100).long()), 0.2, seed=0)
    assert parted.validation is not None
    assert parted.validation.tensors[1].bincount().tolist() == [4] * 5  # type: ignore[attr-defined]
    assert "same speaker" in caplog.text


def test_the_test_set_is_read_once_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def counted(*args: Any) -> Evaluation:
        found = Evaluation(*args)
        sizes.append(found.count)
        return found

    monkeypatch.setattr(testing_module, "Evaluation", counted)
    assert main([*SMALL, "--out", str(tmp_path / "run")]) == 0
    assert sizes == [6, 6, 40]  # a tenth of 60 after each epoch; the test set at the end
    found = json.loads((tmp_path / "run" / "test.json").read_text())
    assert found["samples"] == 40
    assert found["weights"] == "last, after epoch 2"


def test_the_best_checkpoint_and_patience_look_at_validation(tmp_path: Path) -> None:
    run = tmp_path / "run"
    argv = [*SMALL, "--epochs", "8", "--lr", "0.02", "--validation", "0.3", "--patience", "2", "--out", str(run)]
    assert main(argv) == 0
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    shares = [row["validation_accuracy"] for row in rows]
    best = read_checkpoint(run / "checkpoints" / "best.ckpt")["trainer"]["progress"]["results"]
    assert len(best) == shares.index(max(shares)) + 1
    assert len(rows) == 8 or len(rows) == len(best) + 2


def test_without_validation_there_is_no_curve_and_no_patience(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main([*SMALL, "--validation", "0", "--out", str(run)]) == 0
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert set(rows[0]) == {"epoch", "loss", "accuracy"}
    assert (run / "test.json").exists()
    assert main([*SMALL, "--validation", "0", "--patience", "2", "--out", str(tmp_path / "other")]) == 1
    assert "hold a part back" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_the_lab_trains_on_everything_under_the_old_keys(tmp_path: Path) -> None:
    lab = Lab(tmp_path, budget=BUDGETS["quick"])
    from snntorch_brp.paper.datasets import DatasetInUse, PaperDataset

    dataset = DatasetInUse(PaperDataset("digits", "digits"), "digits", None)
    config = lab.plan(dataset, "brp", 0).config
    assert config.validation == 0
    added = {"validation", "consolidation", "regions", "encoder", "hidden_lr", "detach_reset", "augment"}
    assert not added & set(config.key())
    assert load_data(config).validation is None


def test_both_bars_show_the_accuracy_at_80_columns() -> None:
    progress = Progress(epoch=10, results=[])
    result = EpochResult(10, 0.01, 0.987, 100.0, Evaluation(0.1, torch.diag(torch.tensor([96, 4]))))
    with bars.epochs_bar(progress, 10, False) as bar:
        bar.ncols, bar.fp = 80, io.StringIO()
        bars.show(bar, result)
        assert "validation 100.0%" in str(bar)
        assert len(str(bar)) <= 80
    with bars.bar_of("epoch 10", 1200, False) as bar:
        bar.ncols, bar.fp = 80, io.StringIO()
        bar.set_postfix_str("loss 0.0123, accuracy 98.7%")
        assert "accuracy 98.7%" in str(bar)


def test_settings_of_before_had_no_validation() -> None:
    config = RunConfig("digits", None, "64-20-10", "brp", 4, 1.0, 2, 1e-3, "cosine", 20, 0, "cpu")
    assert config.validation == 0
    assert config.key() == RunConfig.of(config.key() | {"data": None}).key()
