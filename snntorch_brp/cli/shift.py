"""``snntorch-brp shift``: Shifting Learning on its tasks."""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from snntorch_brp.cli import options as kinds
from snntorch_brp.cli.options import DefaultsShown, picture, whole
from snntorch_brp.data.images import load_mnist
from snntorch_brp.shifting import CreditTask, ShiftingNetwork, accuracy, fit, graded_times, recipes
from snntorch_brp.shifting.raster import spike_times
from snntorch_brp.shifting.recipes import Recipe
from snntorch_brp.shifting.training import Spikes, select

_TASKS = {
    "xor": "exclusive or, 2-8-2: how many seeds solve it",
    "iris": "Fisher's irises, 10 hidden neurons, repeated 5-fold cross-validation",
    "mnist": "MNIST, 784-800-10",
    "fashion-mnist": "Fashion-MNIST, 784-800-10",
    "tca": "temporal credit assignment: count rewarded features in noise",
}


def add_parser(subparsers: Any) -> None:
    """Declare the command and its tasks."""
    shift = subparsers.add_parser("shift", help="Shifting Learning, a classifier of single spike times")
    options = shift.add_subparsers(title="tasks", metavar="TASK", required=True)
    for name, title in _TASKS.items():
        parser = options.add_parser(name, help=title, description=title, formatter_class=DefaultsShown)
        parser.set_defaults(run=run, task=name)
        option = parser.add_argument
        if name != "tca":  # one layer: nothing hidden
            option("--feedback", default="symmetric", choices=("symmetric", "random"), help="path of the hidden error")
        option("--epochs", type=whole, metavar="N", help="passes over the training set (default: the recipe's)")
        option("--seed", default=0, type=kinds.seed, help="seed of weights, order of samples and trials")
        option("--raster", metavar="FILE", type=picture, help="draw the spike times of one sample into this file")
        if name == "xor":
            option("--seeds", default=40, type=whole, metavar="N", help="networks to train, seeds from --seed on")
        if name == "iris":
            option("--repeats", default=5, type=whole, metavar="N", help="repetitions of the 5 folds")
        if name.endswith("mnist"):
            option("--data", required=True, metavar="DIR", help="folder of the four IDX files")
            option("--limit-train", type=whole, metavar="N", help="use the first N training samples only")
            option("--limit-test", type=whole, metavar="N", help="use the first N test samples only")
        if name == "tca":
            option("--train-trials", default=200, type=whole, metavar="N", help="trials to learn from")
            option("--test-trials", default=50, type=whole, metavar="N", help="unseen trials")


def run(args: argparse.Namespace) -> int:
    """Run a task and print what came out."""
    runner = {"xor": _xor, "iris": _iris, "tca": _tca}.get(args.task, _images)
    started = time.perf_counter()
    net, spikes = runner(args)
    print(f"{time.perf_counter() - started:.0f} s")
    if args.raster:
        spike_times(net, spikes, title=args.task).savefig(args.raster)
        print(f"spike times of one sample: {args.raster}")
    return 0


def _xor(args: argparse.Namespace) -> tuple[ShiftingNetwork, Spikes]:
    spikes, labels = recipes.xor()
    solved = 0
    for seed in range(args.seed, args.seed + args.seeds):
        net = _train(recipes.XOR, args, spikes, labels, seed=seed)
        solved += accuracy(net, spikes, labels) == 1
    print(f"xor, {args.feedback} feedback: {solved} of {args.seeds} seeds solved")
    return net, spikes[1:2]


def _iris(args: argparse.Namespace) -> tuple[ShiftingNetwork, Spikes]:
    spikes, labels = recipes.iris()
    scores = []
    for n, (train, test) in enumerate(recipes.folds(labels, repeats=args.repeats, seed=args.seed)):
        net = _train(recipes.IRIS, args, spikes[train], labels[train], seed=args.seed + n, jitter=recipes.IRIS_JITTER)
        scores.append(100 * accuracy(net, spikes[test], labels[test]))
    mean, spread = statistics.mean(scores), statistics.stdev(scores)
    print(f"iris, {args.feedback} feedback: {mean:.1f} ± {spread:.1f} % over {len(scores)} folds")
    return net, spikes[:1]


def _images(args: argparse.Namespace) -> tuple[ShiftingNetwork, Spikes]:
    train, train_labels = (t[: args.limit_train] for t in load_mnist(args.data, train=True, name=args.task).tensors)
    test, test_labels = (t[: args.limit_test] for t in load_mnist(args.data, train=False, name=args.task).tensors)
    spikes = recipes.images(test)
    generator = torch.Generator().manual_seed(args.seed)
    recipe = _recipe(recipes.MNIST, args)
    net = recipe.network(feedback=args.feedback, generator=generator)
    move = recipes.shifted(1, generator=generator)
    epochs = fit(net, recipes.images(train), train_labels, recipe.schedule, generator=generator, transform=move)
    for epoch, share in enumerate(epochs, start=1):
        print(f"epoch {epoch:>2}: training {share:.2%}, test {accuracy(net, spikes, test_labels):.2%}", flush=True)
    return net, spikes[:1]


def _tca(args: argparse.Namespace) -> tuple[ShiftingNetwork, Spikes]:
    generator = torch.Generator().manual_seed(args.seed)
    task = CreditTask(seed=args.seed)
    train = task.draw(args.train_trials, generator=generator)
    test = task.draw(args.test_trials, generator=generator)
    outcomes = int(train.totals.max()) + 1
    recipe = _recipe(replace(recipes.TCA, sizes=(*recipes.TCA.sizes, outcomes)), args)
    net = recipe.network(generator=generator)
    wanted = graded_times(train.totals, outcomes, width=recipes.TCA_WIDTH)
    for share in fit(net, train.events, train.totals, recipe.schedule, generator=generator, targets=wanted):
        last = share
    guess = net.predict(test.events)
    print(f"training accuracy {last:.0%}; {args.test_trials} unseen trials:")
    print(f"network  accuracy {_share(guess, test.totals):.0%}, mean absolute error {_error(guess, test.totals):.2f}")
    mode, median = train.totals.mode().values, train.totals.median()  # the best that can be said without looking
    print(f"chance   accuracy {_share(mode, test.totals):.0%}, mean absolute error {_error(median, test.totals):.2f}")
    return net, select(test.events, torch.tensor([0]))


def _share(guess: Tensor, totals: Tensor) -> float:
    return float((guess == totals).double().mean())


def _error(guess: Tensor, totals: Tensor) -> float:
    return float((guess - totals).abs().double().mean())


def _recipe(recipe: Recipe, args: argparse.Namespace) -> Recipe:
    """The recipe, with the epochs that were asked for."""
    if args.epochs is None:
        return recipe
    return replace(recipe, schedule=replace(recipe.schedule, epochs=args.epochs))


def _train(
    recipe: Recipe, args: argparse.Namespace, spikes: Spikes, labels: Tensor, *, seed: int, jitter: float = 0.0
) -> ShiftingNetwork:
    generator = torch.Generator().manual_seed(seed)
    recipe = _recipe(recipe, args)
    net = recipe.network(feedback=args.feedback, generator=generator)
    move = recipes.jittered(jitter, generator=generator) if jitter else None
    for _ in fit(net, spikes, labels, recipe.schedule, generator=generator, transform=move):
        pass
    return net
