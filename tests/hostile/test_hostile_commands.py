"""Random command lines: done, failed or wrong use, told in a sentence; never a traceback, never a hang."""

from __future__ import annotations

import argparse
import random
import resource
import struct
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import pytest
from commands import TINY, command, ctrl_c_after
from mutate import Tell, numbers

from snntorch_brp.cli import build_parser

MOST = 6 << 30  # bytes of address space that a command may take beside what the tests have taken
SECONDS = 4.0  # what takes longer is stopped by Ctrl-C
NUMBERS = ["0", "1", "2", "3", "-1", "1e3", "0.5", "1e-9", "1e308", "inf", "-inf", "nan", "٣", "1_000", "0x10", "+1"]
NUMBERS += ["9" * 17, "9" * 19, "9" * 400, "-" + "9" * 18, " 1", "1 ", "1.5.2", ""]
WORDS = ["", " ", "x", "brp", "a:b", "os:getcwd", "snntorch_brp:BRP", "snntorch_brp:Nothing", ":", "no.such:Class"]
WORDS += ["10", "64-6-10", "64-0-10", "64--10", "Conv3x3x2-S2-FC10", "Conv9x9x9", "ConvXxYxZ", "FC10", "S2", "α", "💥"]
WORDS += ["a\nb", "--", "-x", "%s", "{x}", "\udcff", "a" * 300, "/dev/null", "random"]


def leaves(parser: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list]]:
    """Every subcommand that does something, and its options."""
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        yield path, [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    for action in inner:
        for name, sub in action.choices.items():
            yield from leaves(sub, (*path, name))


LEAVES = list(leaves(build_parser()))


def idx_folder(folder: Path) -> Path:
    """MNIST with a handful of images."""
    folder.mkdir()
    for part, count in (("train", 20), ("t10k", 10)):
        images = struct.pack(">iiii", 2051, count, 28, 28) + random.Random(count).randbytes(784 * count)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(images)
        labels = bytes(i % 10 for i in range(count))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">ii", 2049, count) + labels)
    return folder


def places(folder: Path) -> list[str]:
    """Paths that a user may name."""
    if not (folder / "mnist").exists():
        idx_folder(folder / "mnist")
        (folder / "file").write_text("no folder")
        (folder / "empty").mkdir()
        (folder / "loop").symlink_to("loop")
    return [str(folder / name) for name in ("mnist", "mnist", "file", "empty", "loop", "none", "new/run", "file/x")]


def value(action: argparse.Action, draw: random.Random, folder: Path) -> str:
    """Something for an option: as it is meant, more often than not, or anything."""
    name = action.dest
    kind = draw.random()
    if action.choices and kind < 0.8:
        return draw.choice([str(choice) for choice in action.choices])
    if kind < 0.2:
        return draw.choice(WORDS)
    if name == "workers":  # as many processes as there are numbers
        return draw.choice(["0", "-1", "x"])
    if name in ("data", "out", "folder", "archive", "cache", "raster", "speaker"):
        return draw.choice(places(folder))
    return draw.choice(["1", "2", "3", *NUMBERS]) if kind < 0.7 else draw.choice(["1", "2", "5"])


def drawn(draw: random.Random, folder: Path) -> list[str]:
    """One command line."""
    path, actions = draw.choice([*LEAVES, *[leaf for leaf in LEAVES if leaf[0] == ("train", "digits")] * 8])
    if path[0] == "reproduce" and draw.random() < 0.7:  # most of what it does is trained as by train
        path, actions = draw.choice(LEAVES[:4])
    argv = list(TINY[2:] if path[0] == "train" else [])
    if path == ("shift", "mnist") or path == ("shift", "fashion-mnist") or (path[0] == "train" and path[1] != "digits"):
        argv += ["--data", draw.choice(places(folder))]
    for action in actions:
        wanted = action.required or not action.option_strings
        if draw.random() > (0.9 if wanted else 0.12):
            continue
        if action.option_strings:
            argv.append(draw.choice(action.option_strings))
        if action.nargs != 0 and not isinstance(action, argparse.BooleanOptionalAction):
            argv += [value(action, draw, folder) for _ in range(2 if action.nargs == "+" else 1)]
    argv = [*path, *argv]
    if path[0] == "train" and draw.random() < 0.8 and "--out" not in argv:
        argv += ["--out", str(folder / f"run{draw.randrange(6)}")]
    if draw.random() < 0.1:
        argv.insert(draw.randrange(len(argv) + 1), draw.choice(WORDS))
    if draw.random() < 0.05:
        del argv[draw.randrange(len(argv))]
    return argv


def attempt(argv: list[str]) -> int:
    """Run one; its exit code. Raises AssertionError where the promise is broken."""
    with ctrl_c_after(SECONDS) as rung:
        try:
            code, out, err = command(argv)
        except KeyboardInterrupt:  # pressed before or after the command's own care
            assert rung
            return 130
    assert "Traceback" not in err, err
    assert code in (0, 1, 2) or (code == 130 and rung), code
    if code in (1, 2):
        assert "error: " in err or (argv[:2] == ["data", "check"] and "damaged" in out), (
            f"exit {code}, and no word why: {err!r}"
        )
    if code == 0:
        assert out.strip(), "done, and not a word"
    return code


def trial(folder: Path, *, cases: int | None = None, seconds: float = 0.0) -> dict[int, int]:
    """Try so many, or for so long; how many ended with which exit code."""
    matplotlib.use("agg")
    codes: dict[int, int] = {}
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST, limits[1]))
    try:
        for number in numbers(cases, seconds):
            argv = drawn(random.Random(f"command {number}"), folder)
            try:
                code = attempt(argv)
            except BaseException as error:
                raise AssertionError(f"case {number}, {argv}: {type(error).__name__}: {error}") from error
            codes[code] = codes.get(code, 0) + 1
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    return codes


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if not Path("/proc/self/statm").exists():
        pytest.skip("reads the memory of the process from Linux's /proc")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_any_command_line_ends_in_a_sentence(folder: Path) -> None:
    codes = trial(folder, cases=60)
    assert codes[2] > 10  # wrong use
    assert codes[1] > 3  # failed


@pytest.mark.hostile(weight=3)
def test_any_command_line_for_long(folder: Path, seconds: float, tell: Tell) -> None:
    codes = trial(folder, seconds=seconds)
    tell("command lines", sum(codes.values()), f"by exit code {dict(sorted(codes.items()))}")
