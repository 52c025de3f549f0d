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

from snntorch_brp.cli.options import DefaultsShown
from snntorch_brp.label_only import study
from snntorch_brp.paper import fig5, fig6, fig7, fig8, fig9, table1, table3
from snntorch_brp.paper.budgets import BUDGETS
from snntorch_brp.paper.lab import Lab
from snntorch_brp.paper.report import Result, save, write_page
from snntorch_brp.runs.run import resolve_device

FIGURES: dict[str, Callable[[Lab], Result]] = {
    "fig5": fig5.reproduce,
    "fig6": fig6.reproduce,
    "fig7": fig7.reproduce,
    "fig8": fig8.reproduce,
    "fig9": fig9.reproduce,
    "table1": table1.reproduce,
    "table3": table3.reproduce,
    "label-only": study.reproduce,
}


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "reproduce",
        help="make a figure or table of the paper anew, beside the published numbers",
        description="Make a figure or table of the paper anew: png, pdf, csv, and a page over all. Finished trainings "
        "are kept under OUT/runs, so that a command that was interrupted goes on where it was.",
        formatter_class=DefaultsShown,
    )
    parser.set_defaults(run=run_reproduce)
    parser.add_argument("name", metavar="NAME", choices=(*FIGURES, "all"), help=f"{', '.join(FIGURES)} or all")
    parser.add_argument(
        "--data", nargs="+", default=[], type=Path, metavar="DIR",
        help="folders of data sets, or above them: MNIST, CIFAR-10, TIDigits or the Free Spoken Digit Dataset, "
        "DvsGesture or N-MNIST. Without MNIST, scikit-learn's digits stand in; without event recordings, simulated "
        "gestures; what else is missing is left out",
    )  # fmt: skip
    parser.add_argument(
        "--budget", choices=BUDGETS, default="quick",
        help="quick: small networks, minutes on two cores; cpu: the tasks' own networks on all the data, an hour or "
        "two for fig6; full: the paper's setting, for a GPU",
    )  # fmt: skip
    parser.add_argument(
        "--seeds", type=int, metavar="N",
        help="seeds a mean is taken over (default: 3; under --budget cpu 1 for MNIST and CIFAR-10)",
    )  # fmt: skip
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to train")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of results (default: reproduced/BUDGET)")


def run_reproduce(args: argparse.Namespace) -> int:
    """Make what was asked for, and say how it compares."""
    budget = BUDGETS[args.budget]
    if args.seeds is not None:
        if args.seeds < 1:
            raise ValueError(f"--seeds must be at least 1, got {args.seeds}")
        budget = replace(budget, seeds=args.seeds, task_seeds={})
    # a short budget leaves layers silent under some rules: the figures show it, a warning an epoch would drown them
    logging.getLogger("snntorch_brp.training.guard").setLevel(logging.ERROR)
    out = args.out or Path("reproduced") / budget.name
    lab = Lab(out, budget=budget, data=args.data, device=resolve_device(args.device))
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
    return f"snntorch-brp reproduce {name}{data} --budget {args.budget}{seeds}"
