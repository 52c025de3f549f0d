"""Odd places to write to: full disks, folders that are not one's own, links, long and foreign names, no home.

The command does its work, or says in a sentence what is in the way; what was there before is untouched, and once there
is room the same command goes on.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import TINY, Said, child, command, ended
from mutate import Tell, numbers
from results import of_train, same

pytestmark = pytest.mark.usefixtures("blank_figures")

NOBODY = 65534
FIGURE = ["reproduce", "fig7", "--epochs", "1", "--seeds", "1", "--device", "cpu"]
TRAIN = [*TINY, "--checkpoint-every", "1", "--resume"]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, blank_figures: None) -> Any:
    """What an undisturbed training gives."""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    out = tmp_path_factory.mktemp("good") / "run"
    assert command([*TRAIN, "--out", str(out)]).code == 0
    return of_train(out)


def in_child(argv: list[str], folder: Path, first: Callable[[], object] = lambda: None) -> Said:
    """A command in a process of its own; all it said stands in ``err``."""
    log = folder / "log"
    code = ended(child(argv, log, first=first))
    return Said(code, "", log.read_text(errors="surrogateescape"))


def check_told(said: Said, *names: str) -> None:
    """One sentence that names what is in the way."""
    assert said.code == 1, said
    assert "Traceback" not in said.err, said.err
    assert said.err.count("error: ") == 1, said.err
    assert any(name in said.err for name in names), said.err


@contextlib.contextmanager
def disk(folder: Path, kib: int) -> Iterator[Callable[[], None]]:
    """A disk of so many KiB at a folder; gives what makes it larger. Skips where none can be had."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "none", str(folder)], capture_output=True, text=True, check=False
    ) if shutil.which("mount") else None  # fmt: skip
    if mounted is None or mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {'no mount' if mounted is None else mounted.stderr.strip()}")
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)  # type: ignore[func-returns-value]
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def filled(kib: int, folder: Path, good: Any) -> bool:
    """Train onto a disk of so many KiB, and go on when it is larger; whether it was too small."""
    folder.mkdir()
    with disk(folder / "disk", kib) as enlarge:
        argv = [*TRAIN, "--out", str(folder / "disk" / "run")]
        said = in_child(argv, folder)
        full = said.code != 0
        if full:
            check_told(said, "No space left on device")
            enlarge()
            said = in_child(argv, folder)
            assert said.code == 0, said.err
        assert same(of_train(folder / "disk" / "run"), good), f"another result after {kib} KiB"
    return full


@pytest.mark.slow
def test_a_full_disk_is_told_and_loses_nothing(good: Any, tmp_path: Path) -> None:
    assert [filled(kib, tmp_path / str(kib), good) for kib in (4, 40, 120)] == [True] * 3


@pytest.mark.slow
def test_a_full_disk_under_reproduce_is_told(good: Any, tmp_path: Path) -> None:
    with disk(tmp_path / "disk", 30) as enlarge:
        argv = [*FIGURE, "--out", str(tmp_path / "disk" / "out")]
        check_told(in_child(argv, tmp_path), "No space left on device")
        enlarge()
        assert in_child(argv, tmp_path).code == 0
        assert (tmp_path / "disk" / "out" / "fig7.csv").stat().st_size


@pytest.mark.hostile
def test_full_disks_for_long(good: Any, tmp_path: Path, seconds: float, tell: Tell) -> None:
    full = []
    for number in numbers(None, seconds):
        place, kib = tmp_path / str(number), random.Random(f"disk {number}").randrange(4, 400, 4)
        full.append(filled(kib, place, good))
        shutil.rmtree(place)
    tell("disks of all sizes", len(full), f"{sum(full):,} too small")


def as_nobody() -> None:
    """From now on this process is a user without rights."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A folder that everybody can get to, as to the libraries; skipped where one cannot be somebody else."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root can try what others may not do")
    opened = []
    for path in {folder for start in (tmp_path, Path(sys.prefix)) for folder in (start, *start.parents)}:
        mode = stat.S_IMODE(path.stat().st_mode)
        if not mode & stat.S_IXOTH:
            path.chmod(mode | stat.S_IXOTH)
            opened.append((path, mode))
    yield tmp_path
    for path, mode in opened:
        path.chmod(mode)


@pytest.mark.slow
@pytest.mark.parametrize("argv", [TRAIN, FIGURE], ids=["train", "reproduce"])
def test_a_folder_that_may_not_be_written_is_told(argv: list[str], shared: Path, good: Any) -> None:
    (shared / "theirs").mkdir(mode=0o755)
    said = in_child([*argv, "--out", str(shared / "theirs" / "out")], shared, as_nobody)
    check_told(said, str(shared / "theirs"))
    assert "Permission denied" in said.err
    assert not list((shared / "theirs").iterdir())


@pytest.mark.slow
def test_a_run_that_may_only_be_read_is_tested_and_not_changed(shared: Path, good: Any) -> None:
    run = shared / "run"
    assert command([*TRAIN, "--out", str(run)]).code == 0
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert in_child(["evaluate", str(run), "--device", "cpu"], shared, as_nobody).code == 0
    check_told(in_child([*TRAIN, "--out", str(run)], shared, as_nobody), str(run))
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


@pytest.mark.slow
def test_links_are_followed_and_stay(good: Any, tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    (tmp_path / "run").symlink_to("place")
    assert command([*TRAIN, "--out", str(tmp_path / "run")]).code == 0
    assert (tmp_path / "run").is_symlink()
    assert same(of_train(tmp_path / "place"), good)
    (tmp_path / "other").symlink_to("nowhere")
    said = command([*TRAIN, "--out", str(tmp_path / "other")])
    check_told(said, str(tmp_path / "other"))
    (tmp_path / "ring").symlink_to("ring")
    check_told(command([*TRAIN, "--out", str(tmp_path / "ring")]), str(tmp_path / "ring"))


NAMES = ["ŝpajroj 訓練 🧠", " spaces around ", "a" * 200, "-dash", "new\nline", "quo'te\"s", "%s {x} $HOME", "\udcff"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_a_folder_will_do(name: str, good: Any, tmp_path: Path) -> None:
    run = tmp_path / name
    try:
        run.mkdir()
        run.rmdir()
    except (OSError, UnicodeError) as error:
        pytest.skip(f"this system knows no such name: {error}")
    said = command([*TRAIN, f"--out={run}"])
    assert said.code == 0, said.err
    assert same(of_train(run), good)
    assert command(["evaluate", "--device", "cpu", str(run)]).code == 0


@pytest.mark.slow
def test_paths_up_to_the_longest_work_and_longer_ones_are_told(good: Any, tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d" * 100] * 20)
    assert command([*TRAIN, "--out", str(deep)]).code == 0
    assert same(of_train(deep), good)
    check_told(command([*TRAIN, "--out", str(tmp_path / ("n" * 300))]), "File name too long")
    check_told(command([*TRAIN, "--out", str(tmp_path.joinpath(*["d" * 200] * 30))]), "File name too long")


@pytest.mark.slow
@pytest.mark.parametrize("home", [None, "", "/nonexistent", "/dev/null"])
def test_no_home_is_no_hindrance(home: str | None, good: Any, tmp_path: Path) -> None:
    def leave_home() -> None:
        os.environ.pop("XDG_CACHE_HOME", None)
        os.environ.pop("HOME", None) if home is None else os.environ.update(HOME=home)

    said = in_child([*TRAIN, "--out", str(tmp_path / "run")], tmp_path, leave_home)
    assert said.code == 0, said.err
    assert same(of_train(tmp_path / "run"), good)
