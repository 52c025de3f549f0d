"""``snntorch-brp rules``: the published rules that there are, and what each asks of a network."""

from __future__ import annotations

import argparse
from typing import Any

from snntorch_brp.rules import RULES


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    text = "the learning rules by their names, and what each asks of a network"
    parser = subparsers.add_parser("rules", help=text, description=text)
    parser.add_argument("name", nargs="*", metavar="NAME", help="say all that is known of these (default: a list)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the rules."""
    for name in args.name:
        if name not in RULES:
            raise ValueError(f"there is no rule {name!r}: choose from {', '.join(RULES)}")
        rule = RULES[name]
        print(f"{name}: snntorch_brp.rules.{rule.__name__}\n\n    {(rule.__doc__ or '').strip()}\n")
    if not args.name:
        for name, rule in RULES.items():
            facts = rule.facts
            print(f"{name} ({facts.paper})")
            print(f"    sees: {facts.sees}; learns {facts.learns}")
            print(f"    remembers: {facts.remembers}; transports weights: {facts.transports}")
    return 0
