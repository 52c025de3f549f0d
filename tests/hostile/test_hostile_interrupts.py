"""Signals at every function of ``train`` and ``reproduce``: one line, and afterwards the result of an undisturbed run.

A process that is stopped while it prepares, trains, writes, tests or draws goes on with the same command. Which
functions there are is found by watching a run; the process sends itself the signal when one of them is called.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from commands import TINY, Place, calls_of, child, command, ended, place_of, signal_at
from mutate import Tell, numbers
from results import of_reproduce, of_train, same

from snntorch_brp.paper.lab import Lab
from snntorch_brp.paper.report import save
from snntorch_brp.runs.assemble import load_data, start_trainer
from snntorch_brp.runs.figures import save_figure
from snntorch_brp.runtime.files import write_whole
from snntorch_brp.training.loop import Steps
from snntorch_brp.training.testing import evaluate

pytestmark = pytest.mark.usefixtures("blank_figures")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)


class Work(NamedTuple):
    """A command that can be given again after it was stopped."""

    argv: list[str]
    result: Callable[[Path], Any]


WORKS = {
    "train": Work([*TINY, "--checkpoint-every", "1", "--resume"], of_train),
    "reproduce": Work(["reproduce", "fig7", "--epochs", "1", "--seeds", "1", "--device", "cpu"], of_reproduce),
}


class Watched(NamedTuple):
    """What a command calls, and what it gives."""

    calls: dict[Place, int]
    result: Any


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, blank_figures: None) -> Callable[[str], Watched]:
    """Each command, watched when it is first asked for."""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    known: dict[str, Watched] = {}

    def watch(name: str) -> Watched:
        if name not in known:
            out = tmp_path_factory.mktemp("watched") / "out"
            argv = [*WORKS[name].argv, "--out", str(out)]
            assert command(argv).code == 0  # what is built and imported once
            shutil.rmtree(out)
            calls = calls_of(lambda: command(argv))
            known[name] = Watched(calls, WORKS[name].result(out))
        return known[name]

    return watch


def stopped(name: str, place: Place, nth: int, number: signal.Signals, folder: Path, expected: Any) -> int:
    """Stop a command at a call and give it again; its first exit code. AssertionError where something is lost."""
    folder.mkdir()
    out, log, work = folder / "out", folder / "log", WORKS[name]
    argv = [*work.argv, "--out", str(out)]
    code = ended(child(argv, log, first=partial(signal_at, place, nth, number)))
    said, told = log.read_text(), f"{name}, {number.name} at call {nth} of {place}"
    assert code in {0, 130, -number}, f"{told}: exit {code}, {said}"
    assert "Traceback" not in said, f"{told}: {said}"
    code_again = ended(child(argv, log))
    assert code_again == 0, f"{told}: not gone on with, {log.read_text()}"
    left = [path.name for path in out.rglob("*") if ".partial" in path.name or path.name == ".lock"]
    assert not left, f"{told}: left {left}"
    assert same(expected, work.result(out)), f"{told}: another result"
    shutil.rmtree(folder)
    return code


def trial(name: str, folder: Path, watched: Watched, *, cases: int | None = None, seconds: float = 0.0) -> list[int]:
    """Stop a command at so many calls, or for so long; the exit codes. Every function is as likely as any other."""
    codes = []
    for case in numbers(cases, seconds):
        draw_ = random.Random(f"{name} {case}")
        place = draw_.choice(sorted(watched.calls))
        nth = draw_.choice((1, watched.calls[place], draw_.randint(1, watched.calls[place])))
        codes.append(stopped(name, place, nth, draw_.choice(SIGNALS), folder / str(case), watched.result))
    return codes


PHASES: list[tuple[str, Callable[..., object], signal.Signals]] = [
    ("data", load_data, signal.SIGINT),
    ("preparation", start_trainer, signal.SIGTERM),
    ("preparation", start_trainer, signal.SIGKILL),
    ("training", Steps.take, signal.SIGINT),
    ("training", Steps.take, signal.SIGTERM),
    ("training", Steps.take, signal.SIGKILL),
    ("writing", write_whole, signal.SIGINT),
    ("writing", write_whole, signal.SIGKILL),
    ("testing", evaluate, signal.SIGINT),
    ("figure", save_figure, signal.SIGTERM),
    ("figure", save_figure, signal.SIGKILL),
]


@pytest.mark.slow
@pytest.mark.parametrize(("phase", "function", "number"), PHASES)
def test_a_signal_in_any_phase_loses_nothing(
    phase: str,
    function: Callable[..., object],
    number: signal.Signals,
    tmp_path: Path,
    watched: Callable[[str], Watched],
) -> None:
    seen, place = watched("train"), place_of(function)
    nth = (seen.calls[place] + 1) // 2
    code = stopped("train", place, nth, number, tmp_path / "case", seen.result)
    assert code in {130, -number}, "it was not stopped"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "number"), [(Lab.train, signal.SIGTERM), (Steps.take, signal.SIGINT), (save, signal.SIGKILL)]
)
def test_a_figure_that_is_stopped_is_made_all_the_same(
    function: Callable[..., object], number: signal.Signals, tmp_path: Path, watched: Callable[[str], Watched]
) -> None:
    seen = watched("reproduce")
    assert stopped("reproduce", place_of(function), 1, number, tmp_path / "case", seen.result) in {130, -number}


@pytest.mark.hostile
@pytest.mark.parametrize("name", WORKS)
def test_signals_for_long(
    name: str, tmp_path: Path, watched: Callable[[str], Watched], seconds: float, tell: Tell
) -> None:
    codes = trial(name, tmp_path, watched(name), seconds=seconds)
    found = f"at calls of {len(watched(name).calls):,} functions, {sum(map(bool, codes)):,} stopped"
    tell(f"signals, {name}", len(codes), found)
