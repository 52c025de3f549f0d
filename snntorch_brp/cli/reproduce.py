"""``snntorch-brp reproduce``: the paper's figures and tables, one command each."""

from __future__ import annotations

import argparse
import logging
import shlex
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from snntorch_brp.cli.options import DefaultsShown, whole
from snntorch_brp.depth import study as depth
from snntorch_brp.label_only import study
from snntorch_brp.paper import fig5, fig6, fig7, fig8, fig9, peers, settings, table1, table3
from snntorch_brp.paper.budgets import BUDGETS, OLD_NAMES, TIMES
from snntorch_brp.paper.lab import Lab
from snntorch_brp.paper.report import Result, save, write_page
from snntorch_brp.rule_study import study as rule_study
from snntorch_brp.runs.config import resolve_device
from snntorch_brp.tasks.files import known

FIGURES: dict[str, Callable[[Lab], Result]] = {
    "fig5": fig5.reproduce,
    "fig6": fig6.reproduce,
    "fig7": fig7.reproduce,
    "fig8": fig8.reproduce,
    "fig9": fig9.reproduce,
    "table1": table1.reproduce,
    "table3": table3.reproduce,
    "settings": settings.reproduce,
    "label-only": study.reproduce,
    "depth": depth.reproduce,
    "peers": peers.reproduce,
    "rules": rule_study.reproduce,
}


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "reproduce",
        help="make a figure or table of the paper anew, beside the published numbers",
        description="Make a figure or table of the paper anew: png, pdf, csv, and a page over all. Finished trainings "
        "are kept under OUT/runs, so that a command that was interrupted goes on where it was.",
        epilog=TIMES,
        formatter_class=DefaultsShown,
    )
    parser.set_defaults(run=run_reproduce)
    parser.add_argument("name", metavar="NAME", choices=(*FIGURES, "all"), help=f"{', '.join(FIGURES)} or all")
    parser.add_argument(
        "--data", nargs="+", default=[], type=Path, metavar="DIR",
        help=f"folders of data sets, or above them: {', '.join(known())}. Without MNIST, Fashion-MNIST or "
        "scikit-learn's digits stand in; without event recordings, simulated gestures; what else is missing is left "
        "out",
    )  # fmt: skip
    parser.add_argument(
        "--budget", choices=(*BUDGETS, *OLD_NAMES), default="quick", metavar="BUDGET",
        help="; ".join(f"{name}: {budget.about}" for name, budget in BUDGETS.items()),
    )  # fmt: skip
    parser.add_argument(
        "--seeds", type=int, metavar="N",
        help="seeds a mean is taken over (default: 3; under --budget short 1 for the large image sets)",
    )  # fmt: skip
    parser.add_argument(
        "--epochs", type=whole, metavar="N",
        help="passes over the training set, not for label-only and depth (default: the budget's)",
    )  # fmt: skip
    parser.add_argument(
        "--finished", action="store_true",
        help="train nothing: show what is finished of fig6, settings, depth, peers and rules, and say what was not run",
    )  # fmt: skip
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to train")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of results (default: reproduced/BUDGET)")


def run_reproduce(args: argparse.Namespace) -> int:
    """Make what was asked for, and say how it compares."""
    budget = BUDGETS[OLD_NAMES.get(args.budget, args.budget)]
    if args.seeds is not None:
        if args.seeds < 1:
            raise ValueError(f"--seeds must be at least 1, got {args.seeds}")
        budget = replace(budget, seeds=args.seeds, same_seeds=True)
    if args.epochs is not None:
        budget = replace(budget, epochs=args.epochs, same_epochs=True)
    # a short budget leaves layers silent under some rules: the figures show it, a warning an epoch would drown them
    logging.getLogger("snntorch_brp.training.guard").setLevel(logging.ERROR)
    out = args.out or Path("reproduced") / args.budget
    lab = Lab(out, budget=budget, data=args.data, device=resolve_device(args.device), finished=args.finished)
    for name in FIGURES if args.name == "all" else [args.name]:
        result = FIGURES[name](lab)
        save(result, out, command=_command(name, args), budget=budget.name, made=f"{datetime.now():%Y-%m-%d %H:%M}")
        print("\n".join([f"{name}: {result.title}", *(f"  {line}" for line in (*result.verdict, *result.notes))]))
        page = write_page(out, list(FIGURES))
    print(f"{out}: figures (png, pdf), numbers (csv); all on one page: {page}")
    return 0


def _command(name: str, args: argparse.Namespace) -> str:
    data = f" --data {shlex.join(folder.name for folder in args.data)}" if args.data else ""
    seeds = f" --seeds {args.seeds}" if args.seeds is not None else ""
    epochs = f" --epochs {args.epochs}" if args.epochs is not None else ""
    finished = " --finished" if args.finished else ""
    return f"snntorch-brp reproduce {name}{data} --budget {args.budget}{seeds}{epochs}{finished}"
