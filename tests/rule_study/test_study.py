"""The study of rules: what chooses, what is stored, and that every rule can be trained in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from snntorch_brp.paper.budgets import QUICK
from snntorch_brp.paper.lab import Lab, NotFinishedError
from snntorch_brp.rule_study import study, trainings
from snntorch_brp.rule_study.courses import COURSES, Course, data_of, leaky
from snntorch_brp.rule_study.entries import ENTRIES
from snntorch_brp.rule_study.trainings import Amount, CourseTrainings, Outcome
from snntorch_brp.rules import RULES

DIGITS = Course(name="tiny", task="digits", steps=3, network="tiny", widths=(12,), neuron=leaky)
MEMORY = COURSES[-1]
TINY = Amount(epochs=1, batch_size=10)


def trainings_on(course: Course, out: Path) -> CourseTrainings:
    data = data_of(course, None, train=25, test=10, device="cpu")
    out.mkdir(exist_ok=True)
    return CourseTrainings(out, course, data, TINY, device="cpu")


def test_every_rule_by_name_takes_part() -> None:
    assert set(RULES) - set(ENTRIES) == {"drtp"}  # which is BRP
    assert len({entry.title for entry in ENTRIES.values()}) == len(ENTRIES)
    assert [name for name, entry in ENTRIES.items() if not entry.local] == [
        "backprop", "ottt", "ostl", "e-prop-symmetric",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ENTRIES)
def test_a_rule_is_trained_in_a_course(name: str, tmp_path: Path) -> None:
    outcome = trainings_on(DIGITS, tmp_path).train(name, ENTRIES[name], 1e-3, 0)
    assert 0 <= outcome.validation <= 100
    assert outcome.step_ms > 0


def test_the_parts_share_no_sample_and_the_validation_part_is_never_trained_on() -> None:
    data = data_of(DIGITS, None, train=50, test=20, device="cpu")
    assert [len(part) for part in (data.learn, data.validation, data.test)] == [40, 10, 20]
    rows = torch.cat([part.tensors[0].flatten(1) for part in (data.learn, data.validation, data.test)])
    assert len(torch.unique(rows, dim=0)) == 70


def test_trainings_are_stored_and_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = trainings_on(MEMORY, tmp_path)
    first = here.train("output-only", ENTRIES["output-only"], 1e-3, 0)
    monkeypatch.setattr(trainings, "learner_of", lambda *args: pytest.fail("trained again"))
    assert here.train("output-only", ENTRIES["output-only"], 1e-3, 0) == first
    path = here.path("output-only", 1e-3, 0)
    assert path != here.path("output-only", 1e-3, 1) != here.path("brp", 1e-3, 1)
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match=r"is damaged.*remove it, and it is trained anew"):
        here.train("output-only", ENTRIES["output-only"], 1e-3, 0)


def test_a_stored_training_means_the_same_again(tmp_path: Path) -> None:
    one, other = (trainings_on(MEMORY, tmp_path / name) for name in "ab")
    found = [here.train("espp", ENTRIES["espp"], 1e-3, 3) for here in (one, other)]
    assert (found[0].validation, found[0].test) == (found[1].validation, found[1].test)


def test_validation_chooses_and_tests_are_of_the_chosen_rate_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rate with the best validation accuracy has the worst test accuracy, and is reported all the same."""
    asked: list[tuple[str, float, int]] = []

    def train(self: CourseTrainings, name: str, entry: object, lr: float, seed: int) -> Outcome:
        asked.append((name, lr, seed))
        return Outcome(90.0 if lr == study.RATES[1] else 50.0, 10.0 if lr == study.RATES[1] else 80.0, 1.0, "cpu")

    monkeypatch.setattr(CourseTrainings, "train", train)
    monkeypatch.setattr(study, "COURSES", (MEMORY,))
    monkeypatch.setattr(study, "ENTRIES", {name: ENTRIES[name] for name in ("decolle", "output-only")})
    lab = Lab(tmp_path, budget=replace(QUICK, seeds=3), data=[])
    result = study.reproduce(lab)
    decolle = next(row for row in result.rows if row["name"] == "decolle")
    assert (decolle["lr"], decolle["accuracy"], decolle["sd"]) == (study.RATES[1], 10.0, 0.0)
    assert [seed for name, _, seed in asked if name == "decolle"] == [0, 0, 0, 1, 2]
    assert [lr for name, lr, _ in asked if name == "output-only"] == [study.RATES[0]] * 3  # nothing to choose
    assert decolle["seeds"] == 3
    assert "DECOLLE 10.0 ± 0.0" in result.verdict[0]
    assert result.rows[0]["name"] == "output-only"  # best first


def test_courses_without_data_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CourseTrainings, "train", lambda *args: Outcome(1.0, 1.0, 1.0, "cpu"))
    result = study.reproduce(Lab(tmp_path, budget=QUICK, data=[]))
    assert {row["data"] for row in result.rows} == {"delayed match to sample"}
    assert next(note for note in result.notes if "left out" in note).startswith("mnist: left out, no data")


def test_what_is_finished_is_shown_and_what_is_not_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("brp", "output-only", "decolle")
    monkeypatch.setattr(study, "ENTRIES", {name: ENTRIES[name] for name in names})
    monkeypatch.setattr(study, "QUICK", TINY)
    course = replace(MEMORY, quick=(25, 10))
    monkeypatch.setattr(study, "COURSES", (course,))
    lab = Lab(tmp_path, budget=QUICK, data=[], finished=True)
    with pytest.raises(NotFinishedError, match="no finished training of this study"):
        study.reproduce(lab)
    here = study.trainings_of(Lab(tmp_path, budget=QUICK, data=[]), course)
    for lr in study.RATES:
        here.train("brp", ENTRIES["brp"], lr, 0)
    here.train("output-only", ENTRIES["output-only"], study.RATES[0], 0)
    result = study.reproduce(lab)
    assert sorted(row["name"] for row in result.rows) == ["brp", "output-only"]
    assert {row["seeds"] for row in result.rows} == {1}
    (told,) = (note for note in result.notes if note.startswith("Not finished"))
    assert "memory, DECOLLE" in told
    assert "memory, BRP (= DRTP), seed 2" in told
