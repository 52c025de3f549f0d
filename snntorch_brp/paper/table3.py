"""Table III: the best accuracy of BRP and pseudo-BP on every task."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt

from snntorch_brp.paper.budgets import CIFAR10, DVSGESTURE, MNIST, TIDIGITS_1D, TIDIGITS_2D
from snntorch_brp.paper.lab import Lab, Run
from snntorch_brp.paper.published import TABLE3
from snntorch_brp.paper.report import Result
from snntorch_brp.paper.style import COLORS, RULES, Row, mean_and_spread, published, quote, spent, told

SLOTS = (MNIST, CIFAR10, TIDIGITS_1D, TIDIGITS_2D, DVSGESTURE)
COMPARED = ("brp", "backprop")


def reproduce(lab: Lab) -> Result:
    """Train under both rules on every task that there is data for."""
    settings = lab.settings(*SLOTS)
    rows: list[Row] = []
    verdict = []
    for setting in settings:
        epochs = lab.budget.long_epochs.get(setting.task)
        parts = []
        for rule in COMPARED:
            runs = [lab.train(setting, rule, seed, epochs=epochs) for seed in lab.seeds(setting)]
            row = _row(rule, runs)
            printed = TABLE3[setting.slot.name][rule]
            rows += [row, published(setting.slot.name, rule=RULES[rule], best=printed)]
            parts.append(
                f"{RULES[rule]} {row['best']:.2f} % at best, {quote(row['accuracy'], row['sd'], unit=' %')} after the "
                f"last epoch (published{'' if setting.own else ', on other data'}: {printed:.2f})"
            )
        verdict.append(f"{spent(runs)}: {'; '.join(parts)}.")
    figure, ax = plt.subplots(figsize=(2.2 + 1.9 * len(settings), 4), layout="constrained")
    for shift, rule in zip((-0.2, 0.2), COMPARED, strict=True):
        ours = [row for row in rows if row["source"] == "measured" and row["rule"] == RULES[rule]]
        places = [place + shift for place in range(len(settings))]
        ax.bar(places, [row["accuracy"] for row in ours], 0.38, yerr=[row["sd"] for row in ours], color=COLORS[rule],
               alpha=0.85, capsize=3, label=f"{RULES[rule]}, after the last epoch")  # fmt: skip
        there = [TABLE3[setting.slot.name][rule] for setting in settings]
        ax.plot(places, there, marker="*", ms=9, color="gold", markeredgecolor=COLORS[rule], linestyle="none",
                label=f"{RULES[rule]}, published, on the paper's data")  # fmt: skip
    labels = [setting.label.replace(", in place of ", ",\nin place of\n") for setting in settings]
    ax.set_xticks(range(len(settings)), labels, fontsize=8)
    ax.set(ylabel="test accuracy, %", ylim=(0, 105))
    figure.legend(loc="outside lower center", ncols=2)
    notes = [
        "The best value is the highest test accuracy of any epoch and seed: chosen by the test set, it flatters. The "
        "mean over the seeds after the last epoch does not.",
        *lab.missing(*SLOTS),
    ]
    return Result("table3", "best accuracy on every task", figure, rows, verdict, notes)


def _row(rule: str, runs: Sequence[Run]) -> Row:
    mean, spread = mean_and_spread(run.accuracies[-1] for run in runs)
    best = max(max(run.accuracies) for run in runs)
    return {**told(runs), "rule": RULES[rule], "best": best, "accuracy": mean, "sd": spread}
