"""Fig. 8: accuracy against the number of time steps T, BRP beside pseudo-BP."""

from __future__ import annotations

from collections.abc import Sequence

from snntorch_brp.paper.datasets import CIFAR10, DVSGESTURE, MNIST, TIDIGITS_1D, DatasetInUse
from snntorch_brp.paper.lab import Lab
from snntorch_brp.paper.published import FIG8
from snntorch_brp.paper.report import Result
from snntorch_brp.paper.stored import Run
from snntorch_brp.paper.style import (
    Row,
    epochs,
    format_mean,
    label_panel,
    mean_and_spread,
    panels,
    provenance,
    published,
)
from snntorch_brp.propagation import PROPAGATIONS as RULES

DATASETS = (MNIST, CIFAR10, TIDIGITS_1D, DVSGESTURE)
COMPARED = ("brp", "backprop")


def reproduce(lab: Lab) -> Result:
    """Train at every T under both rules."""
    datasets = lab.datasets(*DATASETS)
    figure, axes = panels(len(datasets))
    rows: list[Row] = []
    verdict = []
    for ax, dataset in zip(axes, datasets, strict=True):
        all_steps = lab.budget.fig8_steps or dataset.paper.steps
        printed = FIG8[dataset.paper.name.removesuffix(", 1-D")]
        for rule in COMPARED:
            runs = [[lab.train(dataset, rule, seed, steps=T) for seed in lab.seeds(dataset)] for T in all_steps]
            measured = [_row(rule, at_T) for at_T in runs]
            rows += measured
            means, spreads = ([row[key] for row in measured] for key in ("accuracy", "sd"))
            ax.errorbar(
                all_steps,
                means,
                spreads,
                color=RULES[rule].color,
                marker="o",
                ms=4,
                capsize=3,
                label=RULES[rule].title,
            )
            if rule == "brp":
                verdict.append(_verdict(dataset, measured, printed))
        rows += [
            published(dataset.paper.name, rule=RULES["brp"].title, accuracy=value) for value in sorted(set(printed))
        ]
        for value in set(printed):
            ax.axhline(value, color=RULES["brp"].color, linestyle=":", linewidth=1)
        label_panel(ax, runs[0], x="time steps T", y="test accuracy, %")
        ax.set_xticks(all_steps)
    axes[0].plot([], [], color=RULES["brp"].color, linestyle=":", label="TP_BRP, published,\nleast and most over T")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    notes = ["Means over the seeds after the last epoch; bars are one standard deviation.", *lab.left_out(*DATASETS)]
    return Result("fig8", "accuracy against the number of time steps", figure, rows, verdict, notes)


def _row(rule: str, runs: Sequence[Run]) -> Row:
    mean, spread = mean_and_spread(run.accuracies[-1] for run in runs)
    return {**provenance(runs), "rule": RULES[rule].title, "accuracy": mean, "sd": spread}


def _verdict(dataset: DatasetInUse, rows: Sequence[Row], printed: tuple[float, float]) -> str:
    ours = ", ".join(f"T = {row['T']}: {format_mean(row['accuracy'], row['sd'], unit=' %')}" for row in rows)
    other = "" if dataset.own else ", other data"
    span = f"{printed[0]:.2f}" if printed[0] == printed[1] else f"{printed[0]:.2f} to {printed[1]:.2f}"
    given = f"{rows[0]['split'].partition('; ')[2]}, {epochs(rows[0]['epochs'])}"
    return f"{dataset.label} ({given}), BRP: {ours}. Published on {dataset.paper.name}{other}: {span}."
