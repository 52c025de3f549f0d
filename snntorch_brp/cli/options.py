"""What the subcommands' options share: kinds of numbers, and help that shows real defaults."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from snntorch_brp.runs.rules import canonical, consolidation_named, propagation_named


class DefaultsShown(argparse.HelpFormatter):
    """Help that ends an option's line with its default, where it has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        default = action.default
        nothing = default is None or default is False or default == [] or default is argparse.SUPPRESS
        return action.help if nothing or not action.help else f"{action.help} (default: %(default)s)"


def whole(text: str) -> int:
    """A whole number of at least 1."""
    if not (text.isascii() and text.isdecimal() and len(text) < 19 and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number of at least 1, and below 10^18")
    return int(text)


def positive(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value


def not_negative(text: str) -> float:
    """A finite number of at least 0."""
    try:
        zero = float(text) == 0
    except ValueError:
        zero = False
    return 0.0 if zero else positive(text)


def share(text: str) -> float:
    """A number of at least 0 and below 1."""
    value = not_negative(text)
    if value >= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a part of a whole, from 0 to below 1")
    return value


def count(text: str) -> int:
    """A whole number of at least 0."""
    return 0 if text == "0" else whole(text)


def seed(text: str) -> int:
    """A whole number of 64 bits."""
    try:
        value = int(text)
    except ValueError:
        value = 2**63
    if not -(2**63) <= value < 2**63:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from -2^63 to 2^63-1")
    return value


def folder(text: str) -> Path:
    """A folder that has a name."""
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a folder: use . for this one")
    return Path(text)


def picture(text: str) -> Path:
    """A file to draw into, as PNG where its name does not say."""
    from matplotlib.backend_bases import FigureCanvasBase

    path = folder(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a folder: name a file in it, such as {path / 'raster.png'}")
    path = path if path.suffix else path.with_name(f"{path.name}.png")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {str(path.parent)!r} to write {path.name} into")
    if path.suffix[1:].lower() not in FigureCanvasBase.filetypes:
        kinds = ", ".join(FigureCanvasBase.filetypes)
        raise argparse.ArgumentTypeError(f"{path.suffix!r} is no kind of picture; these are: {kinds}")
    return path


def propagation(text: str) -> str:
    """The name of a propagation: the rule's own, where it has several."""
    return _rule(text, propagation_named)


def consolidation(text: str) -> str:
    """The name of a consolidation."""
    return _rule(text, consolidation_named)


def _rule(text: str, named: Callable[[str], object]) -> str:
    try:
        named(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return canonical(text)
