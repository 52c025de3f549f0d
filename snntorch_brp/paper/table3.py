"""Table III: the best accuracy of BRP and pseudo-BP on every task."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt

from snntorch_brp.paper.datasets import CIFAR10, DVSGESTURE, MNIST, TIDIGITS_1D, TIDIGITS_2D
from snntorch_brp.paper.lab import Lab
from snntorch_brp.paper.published import TABLE3
from snntorch_brp.paper.report import Result
from snntorch_brp.paper.stored import Run
from snntorch_brp.paper.style import Row, effort, format_mean, mean_and_spread, provenance, published
from snntorch_brp.propagation import PROPAGATIONS as RULES

DATASETS = (MNIST, CIFAR10, TIDIGITS_1D, TIDIGITS_2D, DVSGESTURE)
COMPARED = ("brp", "backprop")


def reproduce(lab: Lab) -> Result:
    """Train under both rules on every task that there is data for."""
    datasets = lab.datasets(*DATASETS)
    rows: list[Row] = []
    verdict = []
    for dataset in datasets:
        epochs = lab.long_epochs(dataset)
        parts = []
        for rule in COMPARED:
            runs = [lab.train(dataset, rule, seed, epochs=epochs) for seed in lab.seeds(dataset)]
            row = _row(rule, runs)
            printed = TABLE3[dataset.paper.name][rule]
            rows += [row, published(dataset.paper.name, rule=RULES[rule].title, best=printed)]
            parts.append(
                f"{RULES[rule].title} {row['best']:.2f} % at best, "
                f"{format_mean(row['accuracy'], row['sd'], unit=' %')} "
                f"after the last epoch (published{'' if dataset.own else ', on other data'}: {printed:.2f})"
            )
        verdict.append(f"{effort(runs)}: {'; '.join(parts)}.")
    figure, ax = plt.subplots(figsize=(2.2 + 1.9 * len(datasets), 4), layout="constrained")
    for shift, rule in zip((-0.2, 0.2), COMPARED, strict=True):
        ours = [row for row in rows if row["source"] == "measured" and row["rule"] == RULES[rule].title]
        places = [place + shift for place in range(len(datasets))]
        ax.bar(places, [row["accuracy"] for row in ours], 0.38, yerr=[row["sd"] for row in ours],
               color=RULES[rule].color, alpha=0.85, capsize=3,
               label=f"{RULES[rule].title}, after the last epoch")  # fmt: skip
        there = [TABLE3[dataset.paper.name][rule] for dataset in datasets]
        ax.plot(places, there, marker="*", ms=9, color="gold", markeredgecolor=RULES[rule].color, linestyle="none",
                label=f"{RULES[rule].title}, published, on the paper's data")  # fmt: skip
    labels = [dataset.label.replace(", in place of ", ",\nin place of\n") for dataset in datasets]
    ax.set_xticks(range(len(datasets)), labels, fontsize=8)
    ax.set(ylabel="test accuracy, %", ylim=(0, 105))
    figure.legend(loc="outside lower center", ncols=2)
    notes = [
        "The best value is the highest test accuracy of any epoch and seed: chosen by the test set, it flatters. The "
        "mean over the seeds after the last epoch does not.",
        *lab.left_out(*DATASETS),
    ]
    return Result("table3", "best accuracy on every task", figure, rows, verdict, notes)


def _row(rule: str, runs: Sequence[Run]) -> Row:
    mean, spread = mean_and_spread(run.accuracies[-1] for run in runs)
    best = max(max(run.accuracies) for run in runs)
    return {**provenance(runs), "rule": RULES[rule].title, "best": best, "accuracy": mean, "sd": spread}
