"""Processes that are killed, meet in one folder or disagree: the result of an undisturbed run, or a sentence."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import TINY, child, command, ended
from mutate import Tell, numbers

from snntorch_brp import load

pytestmark = pytest.mark.usefixtures("blank_figures")

ARGUMENTS = [*TINY, "--epochs", "3", "--checkpoint-every", "1", "--resume"]
DISAGREE = {
    "--lr": "0.5",
    "--seed": "9",
    "--model": "64-7-10",
    "--epochs": "4",
    "--batch-size": "6",
    "--propagation": "sign",
    "--consolidation": "stdp",
    "--steps": "2",
    "--limit-train": "25",
    "--validation": "0.2",
    "--weights": "calibrated",
    "--encoder": "direct",
    "--clip-norm": "1",
    "--engine": "attach",
    "--precision": "bfloat16",
    "--schedule": "constant",
}


def result(run: Path) -> tuple[Any, str, dict[str, torch.Tensor]]:
    tested = json.loads((run / "test.json").read_text())
    return tested, (run / "metrics.jsonl").read_text(), load(run).net.state_dict()


def check_same(run: Path, good: tuple[Any, str, dict[str, torch.Tensor]]) -> None:
    tested, metrics, weights = result(run)
    assert (tested, metrics) == good[:2]
    assert all(torch.equal(value, good[2][key]) for key, value in weights.items())
    left = [path.name for path in run.rglob("*") if ".partial" in path.name or path.name == ".lock"]
    assert not left


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, blank_figures: None
) -> tuple[float, tuple[Any, str, dict[str, torch.Tensor]]]:
    """How long a run takes, and what it gives."""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    said = command([*ARGUMENTS, "--out", str(run)])  # what is imported and built here, a child need not
    assert said.code == 0, said.err
    start = time.monotonic()
    assert command([*ARGUMENTS, "--out", str(run.with_name("again"))]).code == 0
    return time.monotonic() - start, result(run)


def killed_again_and_again(draw: random.Random, folder: Path, undisturbed: Any) -> int:
    """One run that is killed at random moments until it is let through; how often it was."""
    whole, good = undisturbed
    run, kills, log = folder / "run", 0, folder / "log"
    for patience in range(draw.randint(2, 5), -1, -1):
        number = child([*ARGUMENTS, "--out", str(run)], log)
        if patience:
            time.sleep(draw.uniform(0, whole))
            os.kill(number, draw.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
        code = ended(number)
        assert code in (0, 130, -signal.SIGKILL, -signal.SIGTERM) if patience else code == 0, (code, log.read_text())
        kills += code != 0
    check_same(run, good)
    return kills


def two_in_one_folder(draw: random.Random, folder: Path, undisturbed: Any) -> int:
    """The second is refused, or, where the first has ended, finds its run; how many were refused."""
    whole, good = undisturbed
    run, resume = folder / "run", draw.random() < 0.5
    argv = [*(ARGUMENTS if resume else ARGUMENTS[:-1]), "--out", str(run)]
    first = child(argv, folder / "log1")
    time.sleep(draw.choice([0, draw.uniform(0, whole)]))
    codes = [ended(child(argv, folder / "log2")), ended(first)]
    assert sorted(codes) in ([0, 1], [0, 0] if resume else [0, 1]), codes
    told = (folder / "log1").read_text() + (folder / "log2").read_text()
    if 1 in codes:
        assert "another process is training in" in told or "holds a run already" in told, told
    check_same(run, good)
    return codes.count(1)


def ranks_that_disagree(draw: random.Random, folder: Path, undisturbed: Any) -> int:
    """Two ranks of which one has another setting: both say so, and nothing is left."""
    option = draw.choice(list(DISAGREE))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    other, children = draw.randrange(2), []
    for rank in range(2):
        environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": str(rank), "WORLD_SIZE": "2"}
        argv = [*ARGUMENTS[:-1], "--out", str(folder / "run"), *([option, DISAGREE[option]] if rank == other else [])]
        children.append(child(argv, folder / f"log{rank}", environment))
    codes = [ended(number) for number in children]
    told = [(folder / f"log{rank}").read_text() for rank in range(2)]
    assert codes == [1, 1], (option, codes, told)
    assert all("the processes have different settings" in text for text in told), (option, told)
    assert not (folder / "run").exists()
    return 1


TRIALS: dict[str, Callable[[random.Random, Path, Any], int]] = {
    "killed": killed_again_and_again,
    "two in one folder": two_in_one_folder,
    "ranks that disagree": ranks_that_disagree,
}


def trial(name: str, folder: Path, undisturbed: Any, *, cases: int | None = None, seconds: float = 0.0) -> list[int]:
    """Try so many, or for so long; what each counted."""
    found = []
    for number in numbers(cases, seconds):
        place = folder / str(number)
        place.mkdir()
        try:
            found.append(TRIALS[name](random.Random(f"{name} {number}"), place, undisturbed))
        except Exception as error:
            raise AssertionError(f"{name}, case {number}: {type(error).__name__}: {error}") from error
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("name", "cases"), [("killed", 1), ("two in one folder", 1), ("ranks that disagree", 4)])
def test_disturbed_runs_end_as_undisturbed_ones_or_say_why(
    name: str, cases: int, tmp_path: Path, undisturbed: Any
) -> None:
    assert len(trial(name, tmp_path, undisturbed, cases=cases)) == cases


@pytest.mark.hostile
@pytest.mark.parametrize("name", TRIALS)
def test_disturbed_runs_for_long(name: str, tmp_path: Path, undisturbed: Any, seconds: float, tell: Tell) -> None:
    found = trial(name, tmp_path, undisturbed, seconds=seconds)
    tell(f"processes, {name}", len(found), f"{sum(found):,} kills or refusals")
