"""``snntorch-brp data``: look at data, unpack it, simulate it, draw it."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from snntorch_brp.data.archive import DEFAULT_LIMITS, Limits, unpack
from snntorch_brp.data.check import Report, check
from snntorch_brp.tasks.registry import TASKS


def add_parser(subparsers: Any) -> None:
    """Declare the commands."""
    data = subparsers.add_parser("data", help="check, unpack, simulate or draw data")
    actions = data.add_subparsers(title="actions", metavar="ACTION", required=True)

    parser = actions.add_parser("check", help="say what is in a folder, what is missing and what is damaged")
    parser.set_defaults(run=run_check)
    parser.add_argument("folder", metavar="DIR", type=_path)

    parser = actions.add_parser("unpack", help="unpack a tar or zip archive into a folder, and nowhere else")
    parser.set_defaults(run=run_unpack)
    parser.add_argument("archive", metavar="ARCHIVE", type=_path)
    parser.add_argument("folder", metavar="DIR", type=_path)
    parser.add_argument(
        "--on-bad", default="error", choices=("error", "skip"), help="a member that leads out of DIR (default: error)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there already")
    parser.add_argument(
        "--max-size",
        type=_size,
        default=DEFAULT_LIMITS.bytes,
        metavar="N",
        help="bytes to unpack at most (default: 64G)",
    )
    parser.add_argument(
        "--max-ratio",
        type=_ratio,
        default=DEFAULT_LIMITS.ratio,
        metavar="N",
        help="bytes for each packed (default: 1000)",
    )
    parser.add_argument(
        "--max-files", type=_size, default=DEFAULT_LIMITS.files, metavar="N", help="files at most (default: 1000000)"
    )

    parser = actions.add_parser("simulate", help="write simulated recordings, to try things without the real data")
    parser.set_defaults(run=run_simulate)
    parser.add_argument("what", choices=("dvsgesture",))
    parser.add_argument("folder", metavar="DIR", type=_path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--overwrite", action="store_true", help="replace simulated recordings that are there already")

    parser = actions.add_parser("show", help="draw a sample: what was recorded, and what the network sees")
    parser.set_defaults(run=run_show)
    parser.add_argument("task", choices=tuple(TASKS))
    parser.add_argument("folder", metavar="DIR", type=_path, nargs="?", help="of the data; digits needs none")
    parser.add_argument("--index", type=int, default=0, metavar="N", help="which sample (default: 0)")
    parser.add_argument("--steps", type=int, default=60, metavar="T", help="time steps (default: 60)")
    parser.add_argument("--out", type=_path, default=Path("."), metavar="DIR", help="where to write (default: here)")
    parser.add_argument("--overwrite", action="store_true", help="replace pictures that are there already")


def run_check(args: argparse.Namespace) -> int:
    """Print the report; 1 if anything is damaged."""
    report = check(args.folder, progress=_bar("reading"))
    print(_table(report))
    return 1 if report.damaged else 0


def run_unpack(args: argparse.Namespace) -> int:
    """Unpack, and say what."""
    limits = Limits(args.max_size, args.max_ratio, args.max_files)
    files = unpack(args.archive, args.folder, on_bad=args.on_bad, overwrite=args.overwrite, limits=limits)
    print(f"{len(files)} files written under {args.folder}")
    return 0


def run_simulate(args: argparse.Namespace) -> int:
    """Simulate, and say what to do with it."""
    from snntorch_brp.data.simulate import simulate_dvsgesture

    folder = simulate_dvsgesture(args.folder, seed=args.seed, overwrite=args.overwrite, progress=_bar("simulating"))
    print(f"simulated gestures in DvsGesture's layout: {folder}")
    print(f"train on them: snntorch-brp train dvsgesture --data {args.folder}")
    return 0


def run_show(args: argparse.Namespace) -> int:
    """Draw one sample."""
    from snntorch_brp.tasks.show import draw_sample

    if args.folder is None and TASKS[args.task].needs_data:
        raise ValueError(f"name the folder of the data: snntorch-brp data show {args.task} DIR")
    for path in draw_sample(
        args.task, args.folder, args.index, steps=args.steps, out=args.out, overwrite=args.overwrite
    ):
        print(path)
    return 0


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("an empty path: name a file or folder, or . for this one")
    return Path(text)


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d{1,18})([KMGT]?)", text.upper())
    if not match or not int(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no size: a whole number, as 500M or 200G")
    return int(match[1]) << 10 * " KMGT".index(match[2] or " ")


def _ratio(text: str) -> float:
    ratio = float(text)
    if not ratio > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no ratio: a number above 0")
    return ratio


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
    lines += report.notes
    return "\n".join(lines)


def _bar(title: str) -> Any:
    """A progress bar around a list, on a terminal only."""
    return lambda items: tqdm(items, desc=title, leave=False, disable=not sys.stderr.isatty())
