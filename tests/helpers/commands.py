"""The command line in this process, or in a child of it: exit code and what it said."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import snntorch_brp
from snntorch_brp.cli import main

TINY = ["train", "digits", "--model", "64-6-10", "--steps", "3", "--limit-train", "30", "--limit-test", "20"]
TINY += ["--epochs", "2", "--batch-size", "10", "--no-tensorboard", "--device", "cpu"]


class Said(NamedTuple):
    """What came of a command."""

    code: int
    out: str
    err: str


def command(argv: Sequence[str]) -> Said:
    """Run a command here; whatever is no exit code of its own comes through as the exception that it is."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors, write_through=True) for errors in ("strict", "replace"))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(argv)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return Said(code, *(stream.buffer.getvalue().decode() for stream in (out, err)))  # type: ignore[attr-defined]


@contextlib.contextmanager
def ctrl_c_after(seconds: float) -> Iterator[list[bool]]:
    """Inside the block Ctrl-C is pressed after some time, and again and again; tells whether it was.

    Not while something is imported: half a module would stay behind in this process, which goes on, unlike a command's.
    """
    rung: list[bool] = []

    def ring(number: int, frame: FrameType | None) -> None:
        while frame is not None:
            if "importlib" in frame.f_code.co_filename:
                return
            frame = frame.f_back
        rung.append(True)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.5)
    try:
        yield rung
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


PACKAGE = str(Path(snntorch_brp.__file__).parent)
Place = tuple[str, int]
"""A function of the package: its file and its first line."""


def calls_of(run: Callable[[], object]) -> dict[Place, int]:
    """How often each function of the package is called, from Python, while something runs."""
    calls: dict[Place, int] = {}

    def count(frame: FrameType, event: str, arg: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE):
            calls[code.co_filename, code.co_firstlineno] = calls.get((code.co_filename, code.co_firstlineno), 0) + 1

    sys.setprofile(count)
    try:
        run()
    finally:
        sys.setprofile(None)
    return calls


def signal_at(place: Place, nth: int, number: int) -> None:
    """From now on this process sends itself a signal when a function is called the nth time, from 1."""
    left = [nth]

    def count(frame: FrameType, event: str, arg: object) -> None:
        code = frame.f_code
        if event == "call" and (code.co_filename, code.co_firstlineno) == place:
            left[0] -= 1
            if left[0] == 0:
                sys.setprofile(None)
                os.kill(os.getpid(), number)

    sys.setprofile(count)


def place_of(function: Callable[..., object]) -> Place:
    """The place of a function, to be compared with those of :func:`calls_of`."""
    code = function.__code__
    return code.co_filename, code.co_firstlineno


def child(
    argv: Sequence[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
    *,
    first: Callable[[], object] = lambda: None,
) -> int:
    """Start a command in a forked process, its output in a file; its number. ``first`` is done there before."""
    number = os.fork()
    if number:
        return number
    code = 70  # a traceback
    try:
        os.environ.update(environment or {})
        with log.open("w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            try:
                first()
                code = main(argv)
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
    finally:
        os._exit(code)


def ended(number: int, seconds: float = 120.0) -> int:
    """The exit code of a child, negative for a signal; one that hangs is ended, and an error.

    It hangs if it has not computed for so many seconds: on a busy machine it may take much longer.
    """
    used, since = -1.0, time.monotonic()
    while time.monotonic() < since + seconds:
        done, status = os.waitpid(number, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if (now := _processor_time(number)) > used + 0.1:
            used, since = now, time.monotonic()
        time.sleep(0.01)
    os.kill(number, signal.SIGKILL)
    os.waitpid(number, 0)
    raise AssertionError(f"no end, and nothing computed for {seconds:.0f} s")


def _processor_time(number: int) -> float:
    """Seconds that a process has computed; always 0 where the system does not tell it as Linux does."""
    try:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
