"""The study of rules: what chooses, what is stored, and that every rule can be trained in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from snntorch_brp.consolidation import PseudoGradient
from snntorch_brp.paper.budgets import QUICK
from snntorch_brp.paper.lab import Lab, NotFinishedError
from snntorch_brp.rule_study import study, trainings
from snntorch_brp.rule_study.courses import COURSES, Amount, Course, data_of, leaky
from snntorch_brp.rule_study.entries import ENTRIES, SAME
from snntorch_brp.rule_study.trainings import CourseTrainings, Outcome
from snntorch_brp.rules import RULES

TINY = Amount(epochs=1, batch_size=10, train=25, test=10)
DIGITS = Course(name="tiny", task="digits", steps=3, network="tiny", widths=(12,), neuron=leaky, quick=TINY)
MEMORY = next(course for course in COURSES if course.name == "memory")
CONV = replace(DIGITS, channels=(2,), widths=())


def trainings_on(course: Course, out: Path) -> CourseTrainings:
    data = data_of(course, None, TINY, device="cpu")
    out.mkdir(exist_ok=True)
    return CourseTrainings(out, course, data, TINY, device="cpu")


def test_every_rule_by_name_takes_part() -> None:
    assert set(RULES) - set(ENTRIES) == set(SAME)
    assert set(SAME.values()) <= set(ENTRIES)
    for name, other in SAME.items():
        rule, parts = RULES[name](), ENTRIES[other].make()
        sent = getattr(parts, "propagation", parts)
        assert (rule.propagation, rule.consolidation) == (sent, getattr(parts, "consolidation", PseudoGradient()))
    assert len({entry.title for entry in ENTRIES.values()}) == len(ENTRIES)
    assert [name for name, entry in ENTRIES.items() if not entry.local] == [
        "backprop", "ottt", "e-prop-symmetric",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.parametrize("course", [DIGITS, CONV], ids=["flat", "convolution"])
def test_a_rule_is_trained_in_a_course(course: Course, name: str, tmp_path: Path) -> None:
    if course.channels and ENTRIES[name].flat:
        pytest.skip("its labels lie beside flat inputs")
    outcome = trainings_on(course, tmp_path).train(name, ENTRIES[name], 1e-3, 0)
    assert 0 <= outcome.validation <= 100
    assert outcome.step_ms > 0


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry.flat or entry.one_hidden_layer])
def test_rules_that_need_another_network_are_left_out(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind convolutions those whose labels lie beside the inputs; in deeper networks symmetric e-prop."""
    asked: list[str] = []

    def train(self: CourseTrainings, name: str, entry: object, lr: float, seed: int) -> Outcome:
        asked.append(name)
        return Outcome(1.0, 1.0, 1.0, "cpu")

    monkeypatch.setattr(CourseTrainings, "train", train)
    monkeypatch.setattr(study, "ENTRIES", {other: ENTRIES[other] for other in ("brp", name)})
    monkeypatch.setattr(study, "COURSES", (replace(CONV, channels=(2, 2) if ENTRIES[name].one_hidden_layer else (2,)),))
    monkeypatch.setattr(study, "data_of", lambda *args, **options: data_of(CONV, None, TINY, device="cpu"))
    study.reproduce(Lab(tmp_path, budget=QUICK, data=[]))
    assert set(asked) == {"brp"}


def test_the_parts_share_no_sample_and_the_validation_part_is_never_trained_on() -> None:
    data = data_of(DIGITS, None, replace(TINY, train=50, test=20), device="cpu")
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
    slow, fast = MEMORY.rates

    def train(self: CourseTrainings, name: str, entry: object, lr: float, seed: int) -> Outcome:
        asked.append((name, lr, seed))
        chosen = name == "decolle" and lr == slow
        return Outcome(90.0 if chosen else 50.0, 10.0 if chosen else 80.0, 1.0, "cpu")

    monkeypatch.setattr(CourseTrainings, "train", train)
    monkeypatch.setattr(study, "COURSES", (MEMORY,))
    monkeypatch.setattr(study, "ENTRIES", {name: ENTRIES[name] for name in ("decolle", "output-only")})
    lab = Lab(tmp_path, budget=replace(QUICK, seeds=3), data=[])
    result = study.reproduce(lab)
    decolle = next(row for row in result.rows if row["name"] == "decolle")
    assert (decolle["lr"], decolle["accuracy"], decolle["sd"]) == (slow, 10.0, 0.0)
    assert [seed for name, _, seed in asked if name == "decolle"] == [0, 0, 1, 2]
    assert {lr for name, lr, _ in asked if name == "decolle"} == {slow, fast}
    assert [lr for name, lr, _ in asked if name == "output-only"] == [slow] * 3  # nothing to choose
    assert decolle["seeds"] == 3
    assert "DECOLLE 10.0 ± 0.0" in result.verdict[0]
    assert result.rows[0]["name"] == "output-only"  # best first


def test_epochs_asked_for_are_the_epochs_trained(tmp_path: Path) -> None:
    for changes, epochs in ({}, MEMORY.quick.epochs), ({"epochs": 3, "same_epochs": True}, 3):
        lab = Lab(tmp_path, budget=replace(QUICK, **changes), data=[])
        assert study.trainings_of(lab, MEMORY).amount == replace(MEMORY.quick, epochs=epochs)


def test_courses_without_data_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CourseTrainings, "train", lambda *args: Outcome(1.0, 1.0, 1.0, "cpu"))
    result = study.reproduce(Lab(tmp_path, budget=QUICK, data=[]))
    assert {row["data"] for row in result.rows} == {"delayed match to sample"}
    assert next(note for note in result.notes if "left out" in note).startswith("mnist: left out, no data")


def test_what_is_finished_is_shown_and_what_is_not_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("brp", "output-only", "decolle")
    monkeypatch.setattr(study, "ENTRIES", {name: ENTRIES[name] for name in names})
    course = replace(MEMORY, quick=TINY)
    monkeypatch.setattr(study, "COURSES", (course,))
    lab = Lab(tmp_path, budget=QUICK, data=[], finished=True)
    with pytest.raises(NotFinishedError, match="no finished training of this study"):
        study.reproduce(lab)
    here = study.trainings_of(Lab(tmp_path, budget=QUICK, data=[]), course)
    for lr in course.rates:
        here.train("brp", ENTRIES["brp"], lr, 0)
    here.train("output-only", ENTRIES["output-only"], course.rates[0], 0)
    result = study.reproduce(lab)
    assert sorted(row["name"] for row in result.rows) == ["brp", "output-only"]
    assert {row["seeds"] for row in result.rows} == {1}
    (told,) = (note for note in result.notes if note.startswith("Not finished"))
    assert told == (
        "Not finished, and left out: memory: BRP (= DRTP, OSTTP), seed 1, BRP (= DRTP, OSTTP), seed 2, "
        "hidden layers at rest, seed 1, hidden layers at rest, seed 2, DECOLLE."
    )
