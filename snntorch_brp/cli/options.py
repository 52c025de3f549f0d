"""What the subcommands' options share: kinds of numbers, and help that shows real defaults."""

from __future__ import annotations

import argparse
import math


class DefaultsShown(argparse.HelpFormatter):
    """Help that ends an option's line with its default, where it has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        default = action.default
        nothing = default is None or default is False or default == [] or default is argparse.SUPPRESS
        return action.help if nothing or not action.help else f"{action.help} (default: %(default)s)"


def whole(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
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
    return 0.0 if text in ("0", "0.0") else positive(text)
