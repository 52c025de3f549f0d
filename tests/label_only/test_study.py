"""The label-only study: who sees which samples, what chooses, and that the test set is read once, at the end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sound import write_wav
from torch import Tensor
from torch.utils.data import TensorDataset

from snntorch_brp.data.loader import batches
from snntorch_brp.encoding import DirectEncoder
from snntorch_brp.label_only import study
from snntorch_brp.label_only import trainings as trainings_module
from snntorch_brp.label_only.candidates import BASELINES, CANDIDATES, Candidate
from snntorch_brp.label_only.features import Features
from snntorch_brp.label_only.folds import folds
from snntorch_brp.label_only.trainings import FoldTrainings
from snntorch_brp.paper.budgets import BUDGETS
from snntorch_brp.paper.datasets import MNIST, TIDIGITS_2D
from snntorch_brp.paper.lab import Lab
from snntorch_brp.propagation import BRP, PROPAGATIONS
from snntorch_brp.sequence import unroll
from snntorch_brp.tasks.protocol import FrozenConv, Protocol
from snntorch_brp.tasks.registry import TASKS
from snntorch_brp.training import BRPTrainer

TINY = replace(BUDGETS["quick"], train=60, test=20, seeds=2)
PROTOCOL = Protocol(conv=FrozenConv(channels=4, kernel=3, pool=2), epochs=1, steps=3, hidden=20)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Digits alone, three rules."""
    monkeypatch.setattr(study, "DATASETS", (MNIST,))
    kept = ("brp", "reward-prediction", "backprop", "output-only")
    monkeypatch.setattr(study, "CANDIDATES", {name: CANDIDATES[name] for name in kept})
    return Lab(tmp_path, budget=TINY)


def test_the_parts_do_not_overlap(lab: Lab) -> None:
    (dataset,) = lab.datasets(MNIST)
    (fold,) = folds(lab, dataset, PROTOCOL)
    learn, validation, test = (set(map(key, part.tensors[0])) for part in (fold.learn, fold.validation, fold.test))
    assert (len(fold.learn), len(fold.validation), len(fold.test)) == (50, 10, 20)
    assert not learn & validation
    assert not learn & test
    assert not validation & test
    assert fold.sizes == "50 training, 10 validation, 20 test"


def key(sample: Tensor) -> bytes:
    return sample.numpy().tobytes()


def test_speakers_are_strangers_to_each_other(tmp_path: Path) -> None:
    for place, speaker in enumerate(("ann", "bob", "cy", "dee")):
        for digit in range(2):
            noise = torch.randn(3000, generator=torch.Generator().manual_seed(10 * place + digit)).numpy() / 10
            write_wav(tmp_path / "recordings" / f"{digit}_{speaker}_0.wav", noise)
    lab = Lab(tmp_path / "out", budget=TINY, data=[tmp_path])
    (dataset,) = lab.datasets(TIDIGITS_2D)
    found = folds(lab, dataset, replace(PROTOCOL, speakers=TASKS["fsdd"].label_only.speakers))
    assert [fold.name for fold in found] == ["fsdd-ann", "fsdd-bob", "fsdd-cy", "fsdd-dee"]
    tested: set[bytes] = set()
    for fold in found:
        learn, validation, test = (set(map(key, part.tensors[0])) for part in (fold.learn, fold.validation, fold.test))
        assert (len(learn), len(validation), len(test)) == (4, 2, 2)
        assert len(learn | validation | test) == 8
        tested |= test
    assert len(tested) == 8
    assert found[0].split == "held-out speaker (ann), validation by bob"


def test_choices_are_made_by_validation_and_the_test_set_is_read_once(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    evaluate = BRPTrainer.evaluate

    def noted(self: BRPTrainer, loader, **options):  # type: ignore[no-untyped-def]
        read.append(sum(len(y) for _, y in loader))
        return evaluate(self, loader, **options)

    monkeypatch.setattr(BRPTrainer, "evaluate", noted)
    result = study.reproduce(lab)
    trials = [row for row in result.rows if row["stage"] == "trial"]
    tests = [row for row in result.rows if row["stage"] == "test"]
    assert len(trials) == 4 * len(study.RATES)
    # first every trial is judged on the validation part (10), then each tested training reads the test part (20) once
    assert read == [10] * len(trials) + [20] * (2 * len(tests))
    best = max((row for row in trials if row["label only"]), key=lambda row: row["accuracy"])
    assert tests[0]["name"] == best["name"]
    curves = [row for row in result.rows if row["stage"] == "curve"]
    assert [row["name"] for row in curves] == [best["name"], "backprop"]
    for row in curves:
        assert len(row["training accuracy by epoch"]) == len(row["validation accuracy by epoch"]) == row["epochs"]
        assert row["validation accuracy by epoch"][-1] == row["accuracy"]
    assert {row["name"] for row in tests} == {best["name"], *BASELINES}
    for row in tests:
        chosen = max((trial for trial in trials if trial["name"] == row["name"]), key=lambda trial: trial["accuracy"])
        assert row["lr"] == chosen["lr"]
        assert (row["seeds"], row["trainings"]) == (2, 2)
    (verdict,) = result.verdict
    assert "digits" in verdict
    assert "best by validation" in verdict

    stored = {path: path.stat().st_mtime_ns for path in (lab.out / "runs").iterdir()}
    again = study.reproduce(lab)
    assert again.rows == result.rows
    assert {path: path.stat().st_mtime_ns for path in (lab.out / "runs").iterdir()} == stored


def test_every_stage_sees_its_own_samples(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainings_module, "TRIAL_SAMPLES", 30)
    (dataset,) = lab.datasets(MNIST)
    (fold,) = folds(lab, dataset, PROTOCOL)
    each = FoldTrainings(lab, PROTOCOL, fold)
    learned: list[TensorDataset] = []
    judged: list[TensorDataset] = []

    def noted(dataset: TensorDataset, size: int, *, shuffle: bool = False):  # type: ignore[no-untyped-def]
        (learned if shuffle else judged).append(dataset)
        return batches(dataset, size, shuffle=shuffle)

    monkeypatch.setattr(trainings_module, "batches", noted)
    outcomes = [each.train("brp", CANDIDATES["brp"], 1e-3, seed=0, stage=stage) for stage in ("trial", "curve", "test")]
    samples, labels = (torch.cat(tensors) for tensors in zip(fold.learn.tensors, fold.validation.tensors, strict=True))
    seen = each.features.counts(samples)
    rows = (slice(30), slice(50), slice(60), slice(50, 60), slice(50, 60))
    for dataset, place in zip((*learned, *judged[:2]), rows, strict=True):
        assert torch.equal(dataset.tensors[0], seen[place])
        assert torch.equal(dataset.tensors[1], labels[place])
    assert torch.equal(judged[2].tensors[0], each.features.counts(fold.test.tensors[0]))
    trial, curve, test = outcomes
    assert trial.curve is None
    assert test.curve is None
    assert curve.curve is not None
    assert len(curve.curve) == 1
    assert curve.accuracy == curve.curve[0][1]


def test_features_are_the_spikes_of_the_same_convolution_run_step_by_step() -> None:
    generator = torch.Generator().manual_seed(0)
    samples = torch.rand(70, 2, 9, 9, generator=generator)
    features = Features(FrozenConv(channels=5, kernel=3, pool=2), DirectEncoder(4), samples)
    counts = features.counts(samples)
    assert counts.dtype is torch.uint8
    assert counts.shape == (70, 4, 5 * 4 * 4)
    with torch.no_grad():
        expected = unroll(features.front, DirectEncoder(4)(samples))
    handed = features.encode_counts(counts)
    # a current within rounding of the threshold may fall on either side
    assert (handed - expected).abs().gt(1e-6).float().mean() < 1e-3
    assert 0.05 < handed.mean() < 0.5


def test_only_rules_that_need_the_label_alone_compete() -> None:
    for candidate in CANDIDATES.values():
        assert candidate.label_only <= (candidate.propagation.local and not candidate.propagation.needs_output)
    assert not CANDIDATES["output-only"].label_only  # a bar, and not a rule
    competing = {candidate.rule for candidate in CANDIDATES.values() if candidate.label_only}
    assert competing == {name for name, rule in PROPAGATIONS.items() if rule.label_only}
    assert {name for name, one in CANDIDATES.items() if not one.label_only} == {"error", "backprop", "output-only"}


def test_a_candidate_is_a_line_of_the_table_of_rules() -> None:
    for rule in ("brq", "error"):
        with pytest.raises(ValueError, match=f"is not the rule '{rule}' of the table"):
            Candidate(rule=rule, title="mine", propagation=BRP())
