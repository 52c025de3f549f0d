"""``snntorch-brp train`` and ``snntorch-brp evaluate``."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

from torch import Tensor

from snntorch_brp.cli.options import (
    DefaultsShown,
    consolidation,
    count,
    folder,
    not_negative,
    positive,
    propagation,
    seed,
    share,
    whole,
)
from snntorch_brp.consolidation import CONSOLIDATIONS
from snntorch_brp.data.augment import AUGMENTATIONS
from snntorch_brp.encoding import RateEncoder
from snntorch_brp.paper.style import epochs
from snntorch_brp.propagation import PROPAGATIONS
from snntorch_brp.rules import TRAINED
from snntorch_brp.runs.config import ENCODERS, SCHEDULES, WEIGHTS, RunConfig, resolve_device, usual_weights
from snntorch_brp.runs.evaluate import ANALYSED, evaluate_run
from snntorch_brp.runs.run import Keeping, train_run
from snntorch_brp.runtime import distributed
from snntorch_brp.tasks.registry import TASKS, task_named
from snntorch_brp.training.tensorboard import installed


def add_parser(subparsers: Any, own_task: str | None = None) -> None:
    """Declare both commands.

    Args:
        subparsers: Of the whole command.
        own_task: The user's own task that is named on the command line, as ``module:TASK``.

    Raises:
        ValueError: If there is no such task.
    """
    text = "train a network on a data set and write a run folder"
    train = subparsers.add_parser(
        "train",
        help=text,
        description=f"{text}; TASK is one of these, or module:TASK for "
        "a record of your own (snntorch_brp.tasks.base.Task)",
    )
    tasks = train.add_subparsers(title="data sets", metavar="TASK", required=True)
    for name, task in {**TASKS, **({} if own_task is None else {own_task: task_named(own_task)})}.items():
        parser = tasks.add_parser(name, help=task.title, description=task.title, formatter_class=DefaultsShown)
        parser.set_defaults(run=run_train, task=name, data=None)
        if task.needs_data:
            parser.add_argument("--data", required=True, metavar="DIR", help="folder of the data set's files")
        option = parser.add_argument
        hint = f"network, such as Conv5x5x28-S2-FC1000-FC10, or module:function (default: {task.network})"
        option("--model", default=argparse.SUPPRESS, metavar="NET", help=hint)
        for key, own in task.options.items():
            shown = {"choices": own.choices} if own.choices else {"metavar": key.upper().replace("_", "-")}
            default = argparse.SUPPRESS if own.default is None else own.default
            option(f"--{key.replace('_', '-')}", default=default, help=own.help, **shown)
        text = f"what is sent to the hidden layers: {', '.join(PROPAGATIONS)}, or module:Class for one of your own; "
        text += "; ".join(f"{', '.join(r.aliases)} = {name}" for name, r in PROPAGATIONS.items() if r.aliases)
        text += "; or a whole rule, which says how a layer learns, too: "
        text += f"{', '.join(TRAINED)} (snntorch-brp rules describes them)"
        option("--propagation", default="brp", type=propagation, metavar="NAME", help=text)
        text = f"how a layer learns from it: {', '.join(CONSOLIDATIONS)}, or module:Class"
        option("--consolidation", default="pseudo-gradient", type=consolidation, metavar="NAME", help=text)
        text = "divide a convolutional layer into R by R regions, within which a channel has one feedback weight"
        option("--regions", type=whole, metavar="R", help=f"{text} (default: a weight for every neuron)")
        text = "as torch draws them, or scaled on some training samples so that every layer fires "
        text += "(default: torch; for output-only, whose hidden layers never learn to, calibrated)"
        option("--weights", choices=WEIGHTS, help=text)
        option("--steps", default=task.steps, type=whole, metavar="T", help="time steps")
        if task.encoder is RateEncoder:
            option("--encoder", default="rate", choices=ENCODERS, help="random spikes, or the values at every step")
        if task.rate_coded and len(task.input_shape) == 3:
            text = "crop training images at random, crop-flip mirrors them, too"
            option("--augment", choices=AUGMENTATIONS, help=text)
        if task.rate_coded:
            option("--alpha", default=task.alpha, type=positive, help="the paper's α of eq. 3: smaller fires more")
        else:
            parser.set_defaults(alpha=task.alpha)
        option("--epochs", default=task.epochs, type=whole, metavar="N", help="passes over the training set")
        option("--lr", default=task.lr, type=positive, help="learning rate of Adam")
        option("--hidden-lr", type=positive, metavar="LR", help="of all layers but the last (default: --lr)")
        text = "take a neuron's reset as a constant on the way back, as snnTorch does (the authors do not)"
        option("--detach-reset", action="store_true", help=text)
        option("--schedule", default="cosine", choices=SCHEDULES, help="learning rate over the run")
        option("--batch-size", default=task.batch_size, type=whole, metavar="B", help="samples in a batch")
        option("--seed", default=0, type=seed, help="seed of weights, feedback, order and encoding")
        option("--weight-decay", default=0.0, type=not_negative, help="of AdamW, instead of Adam")
        option("--clip-norm", type=positive, metavar="NORM", help="largest norm of the gradient")
        text = "part of the training data to hold back and to choose on; the test set is read once, at the end"
        option("--validation", default=0.1, type=share, metavar="FRACTION", help=text)
        option("--patience", type=whole, metavar="N", help="stop after N epochs without a better validation accuracy")
        option("--precision", default="float32", choices=("float32", "bfloat16"), help="of the products")
        option("--engine", default="auto", choices=("auto", "attach", "fused"), help="how the layers are run")
        option("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to train")
        option("--limit-train", type=whole, metavar="N", help="use the first N training samples only")
        option("--limit-test", type=whole, metavar="N", help="use the first N test samples only")
        option(
            "--out",
            type=folder,
            metavar="DIR",
            help="run folder (default: runs/TASK-RULE-TIME)",
            default=argparse.SUPPRESS,
        )
        option("--resume", action="store_true", help="go on from the newest checkpoint in --out, if there is one")
        option("--overwrite", action="store_true", help="replace what --out holds of another run")
        option("--checkpoint-every", type=whole, metavar="STEPS", help="save within an epoch, too")
        option("--keep", default=3, type=whole, metavar="K", help="keep the last K checkpoints, and the best")
        text = "write TensorBoard's files (default: if it is installed)"
        option("--tensorboard", action=argparse.BooleanOptionalAction, default=installed(), help=text)
        option("--workers", default=0, type=count, metavar="N", help="processes that read data ahead")

    evaluate = subparsers.add_parser("evaluate", help="test the model of a run folder")
    evaluate.set_defaults(run=run_evaluate)
    evaluate.add_argument("folder", metavar="RUN", type=Path, help="run folder that train wrote")
    evaluate.add_argument("--data", metavar="DIR", help="folder of the data set (default: where it was)")
    evaluate.add_argument("--limit-test", type=whole, metavar="N", help="use the first N samples only")
    evaluate.add_argument("--training-set", action="store_true", help="test on the training set")
    evaluate.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to run it")


def run_train(args: argparse.Namespace) -> int:
    """Train, and say where everything is."""
    values = {key: value for key, value in vars(args).items() if key in RunConfig.__dataclass_fields__}
    task, device = task_named(args.task), resolve_device(args.device)
    options = {key: getattr(args, key, None) for key in task.options}
    model = task.configured(steps=args.steps, device=device, options=options).network
    values["weights"] = args.weights or usual_weights(args.propagation)
    config = RunConfig(**{"model": model, **values, "device": device, "options": options})
    folder = _folder(args, config)
    keeping = Keeping(**{entry.name: getattr(args, entry.name) for entry in fields(Keeping) if entry.name in args})
    try:
        evaluation = train_run(config, folder, keeping=keeping)
    except KeyboardInterrupt as stopped:
        raise KeyboardInterrupt(f"{stopped}; go on with: {_command(args.argv, folder)}") from None
    if not distributed.is_main_process():
        return 0
    print(("simulated: " if task.simulated(config.data) else "") + task.title)
    print(f"{config.model}, {config.propagation}, {epochs(config.epochs)}, {config.device}")
    print(
        f"test {evaluation}\nthe test set was read once, with the weights of the last epoch\n"
        f"run folder {folder}: config, metrics, checkpoints, model, test result, figures (*.png)"
    )
    print(_next(args.argv, config, folder))
    return 0


def _next(argv: list[str], config: RunConfig, folder: Path) -> str:
    """What to try next: a closer look at this run, and the same training under the rule to compare it with."""
    other = "output-only" if config.propagation == "reward-prediction" else "reward-prediction"
    kept = [arg for i, arg in enumerate(argv) if not {"--propagation", "--out"} & {arg, argv[i - 1] if i else ""}]
    kept = [
        arg
        for arg in kept
        if arg not in ("--resume", "--overwrite") and not arg.startswith(("--propagation=", "--out="))
    ]
    again = shlex.join(["snntorch-brp", *kept, "--propagation", other])
    return f"next: {shlex.join(['snntorch-brp', 'evaluate', str(folder)])}\n      {again}"


def _folder(args: argparse.Namespace, config: RunConfig) -> Path:
    if "out" in args:
        return args.out
    if args.resume or distributed.launched():
        raise ValueError("name the run folder with --out DIR, so that it can be found again")
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = f"{config.task}-{config.propagation}-{stamp}".replace(":", "-")
    return Path("runs") / name


def _command(argv: list[str], folder: Path) -> str:
    """The command that goes on with a run."""
    missing = [*([] if "--out" in argv else ["--out", str(folder)]), *([] if "--resume" in argv else ["--resume"])]
    return shlex.join(["snntorch-brp", *argv, *missing])


def run_evaluate(args: argparse.Namespace) -> int:
    """Test, and print the result class by class and layer by layer."""
    found = evaluate_run(
        args.folder,
        data=args.data,
        limit_test=args.limit_test,
        training_set=args.training_set,
        device=args.device,
    )
    evaluation, confusion = found.evaluation, found.evaluation.confusion
    print(f"{'training set' if args.training_set else 'test'} {evaluation}\n\n{_class_table(confusion)}\n")
    print(f"samples of each true class (row) taken for each class (column)\n{_confusion_table(confusion)}\n")
    print(f"what the layers did on the first {min(ANALYSED, evaluation.count)} samples\n{found.statistics}")
    silent = {name: int((layer.spikes == 0).sum()) for name, layer in found.statistics.layers.items()}
    print("neurons that never fired: " + ", ".join(f"{name} {count}" for name, count in silent.items()))
    return 0


def _class_table(confusion: Tensor) -> str:
    lines = ["class  samples   right  precision"]
    taken = confusion.sum(0).tolist()
    for label, row in enumerate(confusion.tolist()):
        right = f"{row[label] / sum(row):.1%}" if sum(row) else "-"
        precision = f"{row[label] / taken[label]:.1%}" if taken[label] else "-"
        lines.append(f"{label:>5}  {sum(row):>7}  {right:>6}  {precision:>9}")
    return "\n".join(lines)


def _confusion_table(confusion: Tensor) -> str:
    width = max(5, len(str(int(confusion.max()))) + 1)
    header = " " * 5 + "".join(f"{label:>{width}}" for label in range(len(confusion)))
    rows = [f"{label:>5}" + "".join(f"{n:>{width}}" for n in row) for label, row in enumerate(confusion.tolist())]
    return "\n".join([header, *rows])
