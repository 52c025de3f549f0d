"""Time to accuracy, on few samples: contenders start alike, the clock stands while accuracy is measured."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import time_to_accuracy as race_to

ALL = [*race_to.RULES, race_to.BPTT]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    goal = dataclasses.replace(race_to.GOALS["digits"], network="64-100-10", steps=5, every=2, most=4)
    monkeypatch.setitem(race_to.GOALS, "digits", goal)


def start(contender, clock=lambda: 0.0):
    return race_to.Training(contender, "digits", None, clock)


def test_all_start_alike_and_nothing_that_is_held_back_is_trained_on():
    trainings = [start(name) for name in ALL]
    weights = [[p.detach() for p in training.net.parameters()] for training in trainings]
    for others in weights[1:]:
        assert all(torch.equal(one, other) for one, other in zip(weights[0], others, strict=True))
    for training in trainings:
        assert not set(training.train.indices) & set(training.held_back.indices)
        assert len(training.train) + len(training.held_back) == 1437  # no image of the test set
    firsts = [next(training.feed) for training in trainings]
    assert all(torch.equal(x, firsts[0][0]) and torch.equal(labels, firsts[0][1]) for x, labels in firsts)


@pytest.mark.parametrize("contender", ALL)
def test_the_clock_stands_while_accuracy_is_measured(contender):
    ticks = itertools.count()
    training = start(contender, lambda: next(ticks))  # each stretch that counts takes one second
    found = race_to.race(training)
    assert found["seconds"] == 1 + 2  # building, and twice two steps
    assert (found["steps"], found["reached"]) == (4, False)


def test_who_is_there_stops(monkeypatch):
    training = start(race_to.BPTT)
    monkeypatch.setattr(training, "accuracy", lambda: 0.95)
    assert race_to.race(training) == {"seconds": 0.0, "steps": 2, "accuracy": 0.95, "reached": True}


@pytest.mark.parametrize("contender", ALL)
def test_the_parts_of_a_step_are_found_and_add_up(contender):
    shares = race_to.profile(start(contender, race_to.CLOCKS["cpu"]), 3)
    assert sum(shares.values()) == pytest.approx(1)
    for part in ("loading", "encoding", "forward", "weights and the way back", "optimizer"):
        assert shares[part] > 0, part
    assert (shares["signals"] > 0) == (contender == ALL[0])
