"""``snntorch-brp train`` and ``snntorch-brp evaluate``."""

from __future__ import annotations

import argparse
import math
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from snntorch_brp.experiments.runs import (
    PROPAGATIONS,
    SCHEDULES,
    RunConfig,
    evaluate_run,
    resolve_device,
    train_run,
)
from snntorch_brp.experiments.tasks import TASKS


def add_parser(subparsers: Any) -> None:
    """Declare both commands."""
    train = subparsers.add_parser("train", help="train a network on a data set and write a run folder")
    tasks = train.add_subparsers(title="data sets", metavar="TASK", required=True)
    for name, task in TASKS.items():
        formatter = argparse.ArgumentDefaultsHelpFormatter
        parser = tasks.add_parser(name, help=task.title, description=task.title, formatter_class=formatter)
        parser.set_defaults(run=run_train, task=name, data=None)
        if task.needs_data:
            parser.add_argument("--data", required=True, metavar="DIR", help="folder of the data set's files")
        option = parser.add_argument
        hint = f"network, such as Conv5x5x28-S2-FC1000-FC10 (default: {task.network})"
        option("--model", default=argparse.SUPPRESS, metavar="NET", help=hint)
        for key, own in task.options.items():
            shown = {"choices": own.choices} if own.choices else {"metavar": key.upper().replace("_", "-")}
            default = argparse.SUPPRESS if own.default is None else own.default
            option(f"--{key.replace('_', '-')}", default=default, help=own.help, **shown)
        option("--propagation", default="brp", choices=PROPAGATIONS, help="what is sent to the hidden layers")
        option("--steps", default=task.steps, type=_whole, metavar="T", help="time steps")
        if task.rate_coded:
            option("--alpha", default=task.alpha, type=_positive, help="the paper's α of eq. 3: smaller fires more")
        else:
            parser.set_defaults(alpha=task.alpha)
        option("--epochs", default=task.epochs, type=_whole, metavar="N", help="passes over the training set")
        option("--lr", default=task.lr, type=_positive, help="learning rate of Adam")
        option("--schedule", default="cosine", choices=SCHEDULES, help="learning rate over the run")
        option("--batch-size", default=task.batch_size, type=_whole, metavar="B", help="samples in a batch")
        option("--seed", default=0, type=int, help="seed of weights, feedback, order and encoding")
        option("--engine", default="auto", choices=("auto", "attach", "fused"), help="how the layers are run")
        option("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to train")
        option("--limit-train", type=_whole, metavar="N", help="use the first N training samples only")
        option("--limit-test", type=_whole, metavar="N", help="use the first N test samples only")
        option("--out", metavar="DIR", help="run folder (default: runs/TASK-RULE-TIME)", default=argparse.SUPPRESS)

    evaluate = subparsers.add_parser("evaluate", help="test the model of a run folder")
    evaluate.set_defaults(run=run_evaluate)
    evaluate.add_argument("folder", metavar="RUN", type=Path, help="run folder that train wrote")
    evaluate.add_argument("--data", metavar="DIR", help="folder of the data set (default: where it was)")
    evaluate.add_argument("--limit-test", type=_whole, metavar="N", help="use the first N test samples only")


def run_train(args: argparse.Namespace) -> int:
    """Train, and say where everything is."""
    values = {key: value for key, value in vars(args).items() if key in RunConfig.__dataclass_fields__}
    task, device = TASKS[args.task], resolve_device(args.device)
    options = {key: getattr(args, key, None) for key in task.options}
    model = task.configured(steps=args.steps, device=device, options=options).network
    config = RunConfig(**{"model": model, **values, "device": device, "options": options})
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = Path(getattr(args, "out", f"runs/{config.task}-{config.propagation}-{stamp}"))
    evaluation = train_run(config, folder, progress=sys.stderr.isatty())
    print(f"{TASKS[config.task].title}\n{config.model}, {config.propagation}, {config.epochs} epochs, {config.device}")
    print(f"test {evaluation}\nrun folder {folder}: config, metrics, model, figures (*.png)")
    return 0


def run_evaluate(args: argparse.Namespace) -> int:
    """Test, and print the result class by class."""
    evaluation = evaluate_run(args.folder, data=args.data, limit_test=args.limit_test)
    print(f"test {evaluation}\n\nclass  samples  right")
    for label, row in enumerate(evaluation.confusion.tolist()):
        share = f"{row[label] / sum(row):.1%}" if sum(row) else "-"
        print(f"{label:>5}  {sum(row):>7}  {share:>6}")
    return 0


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value
