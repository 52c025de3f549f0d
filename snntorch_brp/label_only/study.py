"""The ladder of label-only rules: every choice made on a validation part, the test set read once, at the end.

All rules train the same head, Linear - neurons - Linear - neurons, on what the same frozen convolution sees
(:mod:`snntorch_brp.label_only.features`). First every rung is tried at every learning rate on a part of the training
data, and judged on the validation part. The best label-only rung and pseudo-BP then show their learning curves, on the
validation part too. Last, these two, BRP as printed and a head whose hidden layer stays random are trained anew on all
training data, and tested.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from snntorch_brp.label_only.candidates import BESIDE, RUNGS
from snntorch_brp.label_only.features import Eye
from snntorch_brp.label_only.folds import folds
from snntorch_brp.label_only.trainings import TRIAL_EPOCHS, TRIED, Climb, Outcome, Stage, Way
from snntorch_brp.paper.budgets import CIFAR10, DVSGESTURE, MNIST, TIDIGITS_2D, Setting
from snntorch_brp.paper.lab import Lab
from snntorch_brp.paper.report import Result
from snntorch_brp.paper.style import Row, mean_and_spread, quote

SLOTS = (MNIST, CIFAR10, TIDIGITS_2D, DVSGESTURE)
RATES = (3e-4, 1e-3, 3e-3)  # learning rates tried
CLIMBS = {
    "digits": Climb(Eye(32, 3, 2), 12, hidden=300),
    "mnist": Climb(Eye(256, 7, 7), 6, batch_size=100),
    "cifar10": Climb(Eye(128, 5, 8), 10, batch_size=100),
    "tidigits": Climb(Eye(64, 5, 4), 15),
    "fsdd": Climb(Eye(64, 5, 4), 15),
    "dvsgesture": Climb(Eye(64, 5, 4), 15, steps=20, batch_size=20),
    "nmnist": Climb(Eye(64, 5, 4), 15, steps=20, batch_size=20),
}
QUICK_CHANNELS, QUICK_HIDDEN = 16, 100  # the sizes of --budget quick


def reproduce(lab: Lab) -> Result:
    """Climb on every task that there is data for."""
    settings = lab.settings(*SLOTS)
    figure, axes = plt.subplots(
        len(settings), 2, figsize=(13, 3.6 * len(settings)), layout="constrained", squeeze=False, width_ratios=(3, 2)
    )
    rows: list[Row] = []
    verdict = []
    for (bars, lines), setting in zip(axes, settings, strict=True):
        trials, curves, tests = _climb(lab, setting)
        rows += [*trials, *curves, *tests]
        verdict.append(_verdict(setting, tests))
        _draw_bars(bars, setting, trials, tests)
        _draw_curves(lines, curves)
    notes = [
        f"Validation: one seed, at most {TRIED:,} training samples, {TRIAL_EPOCHS} epochs, every rule at its best "
        f"learning rate of {', '.join(f'{lr:g}' for lr in RATES)}; this alone chooses. Curves: one seed, the whole "
        "training part. Test: read once, after the last epoch of a training on training and validation part together. "
        "The frozen filters are the same for all rules and seeds; seeds differ in the head, the feedback and the order "
        "of samples.",
        *lab.missing(*SLOTS),
    ]
    return Result("ladder", "label-only rules, chosen by validation", figure, rows, verdict, notes)


def _climb(lab: Lab, setting: Setting) -> tuple[list[Row], list[Row], list[Row]]:
    """The trials of a task, best first, the curves of the best rung and of pseudo-BP, and the tests."""
    climb = _climb_of(setting, quick=lab.budget.name == "quick")
    ways = [Way(lab, climb, fold) for fold in folds(lab, setting, steps=climb.steps)]
    about: Row = {
        "source": "measured",
        "data": setting.label,
        "split": f"{_split(ways)}; {ways[0].fold.sizes}",
        "network": f"{climb.eye}, frozen, then FC{climb.hidden}-FC{ways[0].fold.num_classes}",
        "coding": ways[0].fold.coding,
        "T": climb.steps,
        "batch": climb.batch_size,
    }

    def row(stage: Stage, name: str, lr: float, seeds: int = 1) -> Row:
        outcomes = [way.train(name, RUNGS[name], lr, seed=seed, stage=stage) for way in ways for seed in range(seeds)]
        epochs = TRIAL_EPOCHS if stage == "trial" else climb.epochs
        return {**about, "stage": stage, "epochs": epochs, "seeds": seeds, **_told(name, lr, outcomes)}

    trials = [row("trial", name, lr) for name in RUNGS for lr in RATES]
    trials.sort(key=itemgetter("accuracy"), reverse=True)
    best = next(trial["name"] for trial in trials if trial["label only"])
    rates = {trial["name"]: trial["lr"] for trial in reversed(trials)}
    curves = [row("curve", name, rates[name]) for name in (best, "backprop")]
    tests = [row("test", name, rates[name], lab.budget.seeds) for name in dict.fromkeys((best, *BESIDE))]
    return trials, curves, tests


def _split(ways: Sequence[Way]) -> str:
    if len(ways) == 1:
        return ways[0].fold.split
    return f"each of {len(ways)} speakers held out in turn, validation by another"


def _climb_of(setting: Setting, *, quick: bool) -> Climb:
    climb = CLIMBS[setting.task]
    if not quick:
        return climb
    eye = replace(climb.eye, channels=QUICK_CHANNELS)
    return replace(climb, eye=eye, hidden=QUICK_HIDDEN, epochs=TRIAL_EPOCHS)


def _told(name: str, lr: float, outcomes: Sequence[Outcome]) -> Row:
    rung = RUNGS[name]
    mean, spread = mean_and_spread(outcome.accuracy for outcome in outcomes)
    told: Row = {
        "name": name,
        "rule": rung.title,
        "label only": rung.label_only,
        "lr": lr,
        "accuracy": mean,
        "sd": spread,
        "trainings": len(outcomes),
        "seconds each": statistics.mean(outcome.seconds for outcome in outcomes),
        "device": outcomes[0].machine,
    }
    curves = [outcome.curve for outcome in outcomes if outcome.curve is not None]
    for place, what in enumerate(("training", "validation") if curves else ()):
        by_epoch = zip(*([epoch[place] for epoch in curve] for curve in curves), strict=True)
        told[f"{what} accuracy by epoch"] = [statistics.mean(values) for values in by_epoch]
    return told


def _verdict(setting: Setting, tests: Sequence[Row]) -> str:
    best, *beside = tests
    others = "; ".join(f"{row['rule']} {quote(row['accuracy'], row['sd'])}" for row in beside)
    return (
        f"{setting.label} ({best['network']}; {best['split']}): best by validation {best['rule']}, "
        f"{quote(best['accuracy'], best['sd'])} % on the test set; beside it {others}."
    )


def _draw_bars(ax: Axes, setting: Setting, trials: Sequence[Row], tests: Sequence[Row]) -> None:
    """A bar for each rule's validation accuracy, a star for each tested one."""
    best = {row["name"]: row for row in reversed(trials)}  # trials are sorted: the best learning rate stays
    names = sorted(best, key=lambda name: best[name]["accuracy"])
    colors = ["#9467bd" if RUNGS[name].label_only else "#999999" for name in names]
    ax.barh([RUNGS[name].title for name in names], [best[name]["accuracy"] for name in names], color=colors, alpha=0.7)
    for row in tests:
        ax.errorbar(row["accuracy"], row["rule"], xerr=row["sd"], marker="*", ms=10, color="gold",
                    markeredgecolor="black", ecolor="black")  # fmt: skip
    low = min(row["accuracy"] for row in (*trials, *tests))
    ax.set_xlim(max(0, low - 5), None)
    ax.set_xlabel("accuracy, %; bars: trials, validation (purple: label only); stars: test")
    ax.set_title(f"{setting.label}\n{tests[0]['network']}, T = {tests[0]['T']}", fontsize=10)


def _draw_curves(ax: Axes, curves: Sequence[Row]) -> None:
    """Validation accuracy after every epoch, and, dashed, how well the training samples were known meanwhile."""
    for row in curves:
        color = "#9467bd" if row["label only"] else "#333333"
        passed = range(1, row["epochs"] + 1)
        ax.plot(passed, row["validation accuracy by epoch"], color=color, marker="o", ms=3, label=row["rule"])
        ax.plot(passed, row["training accuracy by epoch"], color=color, ls="--")
    ax.set_xlabel("epoch (validation; dashed: training samples)")
    ax.set_ylabel("accuracy, %")
    ax.set_ylim(None, 100.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(fontsize=8)
