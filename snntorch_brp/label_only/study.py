"""The label-only study: every choice made on a validation part, the test set read once, at the end.

All candidates train the same layers, Linear - neurons - Linear - neurons, on the same features of a frozen convolution
(:mod:`snntorch_brp.label_only.features`). First every candidate is tried at every learning rate on a part of the
training data, and judged on the validation part. The best label-only candidate and pseudo-BP are then trained for
longer, with learning curves on the validation part. Last, these two, BRP as printed and a network whose hidden layer
stays random are trained anew on all training data, and tested.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from snntorch_brp.label_only.candidates import BASELINES, CANDIDATES
from snntorch_brp.label_only.folds import folds
from snntorch_brp.label_only.trainings import TRIAL_EPOCHS, TRIAL_SAMPLES, FoldTrainings, Outcome, Stage
from snntorch_brp.paper.datasets import CIFAR10, DVSGESTURE, MNIST, TIDIGITS_2D, DatasetInUse
from snntorch_brp.paper.lab import Lab
from snntorch_brp.paper.report import Result
from snntorch_brp.paper.style import Row, format_mean, mean_and_spread
from snntorch_brp.tasks.protocol import Protocol
from snntorch_brp.tasks.registry import TASKS

DATASETS = (MNIST, CIFAR10, TIDIGITS_2D, DVSGESTURE)
LABEL_ONLY, OTHERS = "#9467bd", "#666666"  # colors of what competes, and of what does not
RATES = (3e-4, 1e-3, 3e-3)  # learning rates tried
SMALL_CHANNELS, SMALL_HIDDEN = 16, 100  # of --budget quick


def reproduce(lab: Lab) -> Result:
    """Run the study on every task that there is data for."""
    datasets = lab.datasets(*DATASETS)
    figure, axes = plt.subplots(
        len(datasets), 2, figsize=(13, 3.6 * len(datasets)), layout="constrained", squeeze=False, width_ratios=(3, 2)
    )
    rows: list[Row] = []
    verdict = []
    for (bars, lines), dataset in zip(axes, datasets, strict=True):
        trials, curves, tests = _study(lab, dataset)
        rows += [*trials, *curves, *tests]
        verdict.append(_verdict(dataset, tests))
        _draw_bars(bars, dataset, trials, tests)
        _draw_curves(lines, curves)
    notes = [
        f"Validation: one seed, at most {TRIAL_SAMPLES:,} training samples, {TRIAL_EPOCHS} epochs, every candidate "
        f"at its best learning rate of {', '.join(f'{lr:g}' for lr in RATES)}; this alone chooses. Curves: one seed, "
        "the whole training part. Test: read once, after the last epoch of a training on training and validation part "
        "together. The frozen filters are the same for all rules and seeds; seeds differ in the weights, the feedback "
        "and the order of samples.",
        *lab.left_out(*DATASETS),
    ]
    return Result("label-only", "label-only rules, chosen by validation", figure, rows, verdict, notes)


def _study(lab: Lab, dataset: DatasetInUse) -> tuple[list[Row], list[Row], list[Row]]:
    """The trials of a task, best first, the curves of the best candidate and of pseudo-BP, and the tests."""
    protocol = protocol_of(dataset, small=lab.budget.small_study)
    trainings = [FoldTrainings(lab, protocol, fold) for fold in folds(lab, dataset, protocol)]
    about: Row = {
        "source": "measured",
        "data": dataset.label,
        "split": f"{_split(trainings)}; {trainings[0].fold.sizes}",
        "network": f"{protocol.conv}, frozen, then FC{protocol.hidden}-FC{trainings[0].fold.num_classes}",
        "coding": trainings[0].fold.coding,
        "T": protocol.steps,
        "batch": protocol.batch_size,
    }

    def row(stage: Stage, name: str, lr: float, seeds: int = 1) -> Row:
        outcomes = [
            each.train(name, CANDIDATES[name], lr, seed=seed, stage=stage)
            for each in trainings
            for seed in range(seeds)
        ]
        epochs = TRIAL_EPOCHS if stage == "trial" else protocol.epochs
        return {**about, "stage": stage, "epochs": epochs, "seeds": seeds, **_summary(name, lr, outcomes)}

    trials = [row("trial", name, lr) for name in CANDIDATES for lr in RATES]
    trials.sort(key=itemgetter("accuracy"), reverse=True)
    best = next(trial["name"] for trial in trials if trial["label only"])
    rates = {trial["name"]: trial["lr"] for trial in reversed(trials)}
    curves = [row("curve", name, rates[name]) for name in (best, "backprop")]
    tests = [row("test", name, rates[name], lab.budget.seeds) for name in dict.fromkeys((best, *BASELINES))]
    return trials, curves, tests


def _split(trainings: Sequence[FoldTrainings]) -> str:
    if len(trainings) == 1:
        return trainings[0].fold.split
    return f"each of {len(trainings)} speakers held out in turn, validation by another"


def protocol_of(dataset: DatasetInUse, *, small: bool) -> Protocol:
    """Settings of the study on a data set; ``small`` for small layers and few epochs.

    Raises:
        ValueError: If the task takes no part in the study.
    """
    protocol = TASKS[dataset.task].label_only
    if protocol is None:
        raise ValueError(f"{dataset.task} takes no part in the label-only study: its record has label_only=None")
    if not small:
        return protocol
    conv = replace(protocol.conv, channels=SMALL_CHANNELS)
    return replace(protocol, conv=conv, hidden=SMALL_HIDDEN, epochs=TRIAL_EPOCHS)


def _summary(name: str, lr: float, outcomes: Sequence[Outcome]) -> Row:
    candidate = CANDIDATES[name]
    mean, spread = mean_and_spread(outcome.accuracy for outcome in outcomes)
    summary: Row = {
        "name": name,
        "rule": candidate.title,
        "label only": candidate.label_only,
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
        summary[f"{what} accuracy by epoch"] = [statistics.mean(values) for values in by_epoch]
    return summary


def _verdict(dataset: DatasetInUse, tests: Sequence[Row]) -> str:
    best, *beside = tests
    others = "; ".join(f"{row['rule']} {format_mean(row['accuracy'], row['sd'])}" for row in beside)
    return (
        f"{dataset.label} ({best['network']}; {best['split']}): best by validation {best['rule']}, "
        f"{format_mean(best['accuracy'], best['sd'])} % on the test set; beside it {others}."
    )


def _draw_bars(ax: Axes, dataset: DatasetInUse, trials: Sequence[Row], tests: Sequence[Row]) -> None:
    """A bar for each rule's validation accuracy, a star for each tested one."""
    best = {row["name"]: row for row in reversed(trials)}  # trials are sorted: the best learning rate stays
    names = sorted(best, key=lambda name: best[name]["accuracy"])
    colors = [LABEL_ONLY if CANDIDATES[name].label_only else OTHERS for name in names]
    ax.barh(
        [CANDIDATES[name].title for name in names], [best[name]["accuracy"] for name in names], color=colors, alpha=0.7
    )
    for row in tests:
        ax.errorbar(row["accuracy"], row["rule"], xerr=row["sd"], marker="*", ms=10, color="gold",
                    markeredgecolor="black", ecolor="black")  # fmt: skip
    low = min(row["accuracy"] for row in (*trials, *tests))
    ax.set_xlim(max(0, low - 5), None)
    ax.set_xlabel("accuracy, %; bars: trials, validation (purple: label only); stars: test")
    ax.set_title(f"{dataset.label}\n{tests[0]['network']}, T = {tests[0]['T']}", fontsize=10)


def _draw_curves(ax: Axes, curves: Sequence[Row]) -> None:
    """Validation accuracy after every epoch, and, dashed, the accuracy on the training samples meanwhile."""
    for row in curves:
        color = LABEL_ONLY if row["label only"] else OTHERS
        passed = range(1, row["epochs"] + 1)
        ax.plot(passed, row["validation accuracy by epoch"], color=color, marker="o", ms=3, label=row["rule"])
        ax.plot(passed, row["training accuracy by epoch"], color=color, ls="--")
    ax.set_xlabel("epoch (validation; dashed: training samples)")
    ax.set_ylabel("accuracy, %")
    ax.set_ylim(None, 100.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(fontsize=8)
