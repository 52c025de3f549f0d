"""The command line: the only part of the package that prints.

Each subcommand is one module here with two functions: ``add_parser(subparsers)`` declares it and sets
``run`` as its action, ``run(args)`` does it and returns the exit code.
"""

from __future__ import annotations

import argparse
import io
import logging
import sys
from collections.abc import Sequence
from itertools import pairwise
from types import ModuleType
from typing import NoReturn

from snntorch_brp.cli import data, reproduce, rules, shift, train
from snntorch_brp.version import __version__

COMMANDS: tuple[ModuleType, ...] = (data, rules, shift, reproduce)  # behind train


class _Parser(argparse.ArgumentParser):
    """A wrong argument is reported in one line, with where help is; the usage of ``train`` alone has a dozen."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (options: {self.prog} --help)\n")


def build_parser(own_task: str | None = None) -> argparse.ArgumentParser:
    """The parser of ``snntorch-brp``, with every subcommand; ``own_task`` is a user's task ``module:TASK`` to train."""
    parser = _Parser(prog="snntorch-brp", description="Train spiking networks without backpropagation between layers.")
    parser.add_argument("--version", action="version", version=f"snntorch-brp {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    train.add_parser(subparsers, own_task)
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


def _own_task(argv: Sequence[str]) -> str | None:
    """The user's own task in ``train module:TASK ...``, whose options the parser must know before it reads them."""
    behind = next((after for before, after in pairwise(argv) if before == "train"), "")
    return behind if ":" in behind else None


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``snntorch-brp`` and return its exit code: 0 done, 1 failed, 2 wrong use, 130 interrupted."""
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt as stopped:
        print(f"snntorch-brp: {stopped}" if str(stopped) else "snntorch-brp: interrupted", file=sys.stderr)
        return 130


def _run(argv: list[str]) -> int:
    """The command; its exit code, unless it is interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name of a file may be none that the terminal can show
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(format="%(levelname)s: %(message)s")
    logging.getLogger("snntorch_brp").setLevel(logging.INFO)  # matplotlib's own remarks are not of interest
    try:
        parser = build_parser(_own_task(argv))
    except ValueError as error:
        build_parser().error(str(error))
    args = parser.parse_args(argv)
    args.argv = argv
    try:
        return int(args.run(args))
    except (ValueError, OSError, ImportError) as error:
        if args.debug:
            raise
        print(f"snntorch-brp: error: {error}", file=sys.stderr)
        return 1
    except (RuntimeError, MemoryError) as error:
        known = isinstance(error, MemoryError) or any(w in str(error) for w in ("DataLoader worker", "allocate memory"))
        if args.debug or not known:
            raise
        what = "a process that reads data ahead was killed" if "worker" in str(error) else "there is too little memory"
        print(f"snntorch-brp: error: {what}: {error}", file=sys.stderr)
        return 1
