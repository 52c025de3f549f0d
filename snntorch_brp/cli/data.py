"""``snntorch-brp data``: look at data, unpack it, simulate it, draw it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from snntorch_brp.data.archive import unpack
from snntorch_brp.data.check import Report, check


def add_parser(subparsers: Any) -> None:
    """Declare the commands."""
    data = subparsers.add_parser("data", help="check, unpack, simulate or draw data")
    actions = data.add_subparsers(title="actions", metavar="ACTION", required=True)

    parser = actions.add_parser("check", help="say what is in a folder, what is missing and what is damaged")
    parser.set_defaults(run=run_check)
    parser.add_argument("folder", metavar="DIR", type=Path)

    parser = actions.add_parser("unpack", help="unpack a tar or zip archive into a folder, and nowhere else")
    parser.set_defaults(run=run_unpack)
    parser.add_argument("archive", metavar="ARCHIVE", type=Path)
    parser.add_argument("folder", metavar="DIR", type=Path)
    parser.add_argument(
        "--on-bad", default="error", choices=("error", "skip"), help="a member that leads out of DIR (default: error)"
    )

    parser = actions.add_parser("simulate", help="write simulated recordings, to try things without the real data")
    parser.set_defaults(run=run_simulate)
    parser.add_argument("what", choices=("dvsgesture",))
    parser.add_argument("folder", metavar="DIR", type=Path)
    parser.add_argument("--seed", type=int, default=0)

    parser = actions.add_parser("show", help="draw a sample: what was recorded, and what the network sees")
    parser.set_defaults(run=run_show)
    parser.add_argument("task", choices=("dvsgesture", "nmnist", "tidigits", "fsdd", "cifar10"))
    parser.add_argument("folder", metavar="DIR", type=Path)
    parser.add_argument("--index", type=int, default=0, metavar="N", help="which sample (default: 0)")
    parser.add_argument("--steps", type=int, default=60, metavar="T", help="time steps (default: 60)")
    parser.add_argument("--out", type=Path, default=Path("."), metavar="DIR", help="where to write (default: here)")


def run_check(args: argparse.Namespace) -> int:
    """Print the report; 1 if anything is damaged."""
    report = check(args.folder, progress=_bar("reading"))
    print(_table(report))
    return 1 if report.damaged else 0


def run_unpack(args: argparse.Namespace) -> int:
    """Unpack, and say what."""
    files = unpack(args.archive, args.folder, on_bad=args.on_bad)
    print(f"{len(files)} files written under {args.folder}")
    return 0


def run_simulate(args: argparse.Namespace) -> int:
    """Simulate, and say what to do with it."""
    from snntorch_brp.data.simulate import simulate_dvsgesture

    folder = simulate_dvsgesture(args.folder, seed=args.seed, progress=_bar("simulating"))
    print(f"simulated gestures in DvsGesture's layout: {folder}")
    print(f"train on them: snntorch-brp train dvsgesture --data {args.folder}")
    return 0


def run_show(args: argparse.Namespace) -> int:
    """Draw one sample."""
    from snntorch_brp.experiments.samples import draw_sample

    args.out.mkdir(parents=True, exist_ok=True)
    for path in draw_sample(args.task, args.folder, args.index, steps=args.steps, out=args.out):
        print(path)
    return 0


def _table(report: Report) -> str:
    """The report as text: a line a class, and what is wrong."""
    lines = [report.name]
    if report.counts:
        width = max(len(name) for name in [*report.classes, "all"])
        lines.append(" " * width + "".join(f"{split or 'samples':>9}" for split in report.splits))
        for label, name in enumerate(report.classes):
            row = "".join(f"{report.counts[split, label]:>9,}" for split in report.splits)
            lines.append(f"{name:<{width}}{row}")
        lines.append(f"{'all':<{width}}" + "".join(f"{report.total(split):>9,}" for split in report.splits))
    lines += [f"missing: {line}" for line in report.missing]
    lines += [f"damaged: {line}" for line in report.damaged[:20]]
    if len(report.damaged) > 20:
        lines.append(f"... and {len(report.damaged) - 20} more damaged")
    if not report.missing and not report.damaged:
        lines.append("nothing is missing or damaged")
    return "\n".join(lines)


def _bar(title: str) -> Any:
    """A progress bar around a list, on a terminal only."""
    return lambda items: tqdm(items, desc=title, leave=False, disable=not sys.stderr.isatty())
