"""Run folders that somebody has touched: the same result, or a sentence that names the file; never another result."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import TINY, command
from mutate import Tell, mutated, numbers
from results import same

from snntorch_brp import load

pytestmark = pytest.mark.usefixtures("blank_figures")

VALUES = [None, True, -1, 0, 1, 7, 1e308, float("nan"), "", "brp", "sign", "fused", "64-7-10", "digits", [], {}, [1]]


def train(out: Path, *options: str) -> None:
    said = command([*TINY, "--seed", "3", "--out", str(out), *options])
    assert said.code == 0, said.err


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, blank_figures: None) -> Path:
    """A run, one of another seed and one of another network, to take files from."""
    folder = tmp_path_factory.mktemp("folders")
    train(folder / "run", "--checkpoint-every", "2")
    train(folder / "seed", "--seed", "4")
    train(folder / "net", "--model", "64-7-10")
    return folder


def files(run: Path) -> list[Path]:
    return sorted(path for path in run.rglob("*") if path.is_file() or path.is_symlink())


def delete(path: Path, draw: random.Random, made: Path) -> None:
    path.unlink()


def delete_all_alike(path: Path, draw: random.Random, made: Path) -> None:
    for other in list(path.parent.iterdir()):
        if other.suffix == path.suffix and other.is_file():
            other.unlink()


def damage(path: Path, draw: random.Random, made: Path) -> None:
    path.write_bytes(mutated(path.read_bytes(), draw))


def truncate(path: Path, draw: random.Random, made: Path) -> None:
    path.write_bytes(path.read_bytes()[: draw.randrange(100)])


def exchange(path: Path, draw: random.Random, made: Path) -> None:
    """The file of the same name, or any other, of another run."""
    other = made / draw.choice(["seed", "net"])
    found = [file for file in files(other) if file.name == path.name] or files(other)
    path.write_bytes(draw.choice(found).read_bytes())


def into_folder(path: Path, draw: random.Random, made: Path) -> None:
    path.unlink()
    path.mkdir()


def dangling(path: Path, draw: random.Random, made: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def edit(path: Path, draw: random.Random, made: Path) -> None:
    """One field of a JSON file."""
    config = path.parent / "config.json"
    path = config if path.suffix != ".json" and config.is_file() else path
    if path.suffix != ".json" or not path.is_file():
        return damage(path, draw, made)
    try:
        values = json.loads(path.read_text())
    except ValueError:
        return damage(path, draw, made)
    if isinstance(values, dict):
        name = draw.choice([*values, "new"])
        if draw.random() < 0.2:
            values.pop(name, None)
        else:
            values[name] = draw.choice(VALUES)
    path.write_text(json.dumps(values))
    return None


CHANGES: tuple[Callable[[Path, random.Random, Path], None], ...] = (
    delete, delete_all_alike, damage, damage, truncate, exchange, into_folder, dangling, edit, edit, edit,
)  # fmt: skip


def evaluated(run: Path) -> Any:
    said = command(["evaluate", str(run), "--device", "cpu"])
    return said, said.out


def loaded(run: Path) -> Any:
    return load(run).net.state_dict()


def resumed(run: Path) -> Any:
    said = command([*TINY, "--seed", "3", "--out", str(run), "--resume"])
    if said.code:
        return said, None
    tested = json.loads((run / "test.json").read_text())
    return said, (tested, (run / "metrics.jsonl").read_text(), loaded(run))


ACTIONS: dict[str, Callable[[Path], Any]] = {"evaluate": evaluated, "load": loaded, "resume": resumed}


def attempt(name: str, run: Path, good: Any) -> bool:
    """Do something with a changed folder; whether it was done. Raises AssertionError where the promise is broken."""
    if name == "load":
        problem = ""
        try:
            found = loaded(run)
        except (ValueError, OSError) as error:
            problem = str(error) or repr(error)
        if problem:
            assert str(run) in problem, f"names no file: {problem}"
            return False
    else:
        said, found = ACTIONS[name](run)
        assert said.code in (0, 1), said
        if said.code:
            assert str(run) in said.err, f"names no file: {said.err}"
            return False
    assert same(good, found), "another result"
    return True


def trial(made: Path, folder: Path, name: str, *, cases: int | None = None, seconds: float = 0.0) -> tuple[int, int]:
    """Try so many, or for so long; how many were tried, and done."""
    work = folder / "work" / "run"
    shutil.copytree(made / "run", work)
    good = ACTIONS[name](work)
    good = good if name == "load" else good[1]
    tried = done = 0
    for number in numbers(cases, seconds):
        draw = random.Random(f"{name} {number}")
        shutil.rmtree(work.parent)
        shutil.copytree(made / "run", work)
        told = []
        for _ in range(draw.choice((1, 1, 2, 3))):
            left = [path for path in files(work) if path.suffix != ".png" or draw.random() < 0.2]
            if not left:
                break
            path, change = draw.choice(left), draw.choice(CHANGES)
            if path.is_symlink() or (change is exchange and any(exchange.__name__ in line for line in told)):
                continue  # settings and model of another run are another run
            told.append(f"{change.__name__} {path.relative_to(work)}")
            change(path, draw, made)
        try:
            done += attempt(name, work, good)
        except Exception as error:
            raise AssertionError(f"{name}, case {number}, {told}: {type(error).__name__}: {error}") from error
        tried += 1
    return tried, done


@pytest.mark.slow
@pytest.mark.parametrize(("name", "cases"), [("load", 40), ("evaluate", 12), ("resume", 8)])
def test_a_changed_run_folder_gives_the_same_or_a_sentence(name: str, cases: int, made: Path, tmp_path: Path) -> None:
    tried, done = trial(made, tmp_path, name, cases=cases)
    assert tried == cases
    assert 0 < done < cases


@pytest.mark.hostile
@pytest.mark.parametrize("name", ACTIONS)
def test_changed_run_folders_for_long(name: str, made: Path, tmp_path: Path, seconds: float, tell: Tell) -> None:
    tried, done = trial(made, tmp_path, name, seconds=seconds)
    tell(f"changed run folders, {name}", tried, f"{done:,} gave the same result")
