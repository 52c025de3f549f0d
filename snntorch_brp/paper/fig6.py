"""Fig. 6: test accuracy over the epochs, under every propagation, on the paper's tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from snntorch_brp.paper.datasets import CIFAR10, DVSGESTURE, MNIST, TIDIGITS_1D, TIDIGITS_2D, DatasetInUse
from snntorch_brp.paper.lab import Lab, NotFinishedError
from snntorch_brp.paper.published import FIG6
from snntorch_brp.paper.report import Result
from snntorch_brp.paper.stored import Run
from snntorch_brp.paper.style import (
    Row,
    effort,
    format_mean,
    label_panel,
    mean_and_spread,
    mean_band,
    panels,
    provenance,
    published,
)
from snntorch_brp.propagation import PROPAGATIONS as RULES

DATASETS = (MNIST, CIFAR10, TIDIGITS_1D, TIDIGITS_2D, DVSGESTURE)
Stats = Mapping[str, Sequence[tuple[float, float]]]  # mean and spread by rule and epoch


def reproduce(lab: Lab) -> Result:
    """Train under every rule and seed on every task that there is data for."""
    trained = [
        (dataset, {rule: done for rule in RULES if (done := lab.trained(dataset, rule))})
        for dataset in lab.datasets(*DATASETS)
    ]
    shown = [(dataset, runs) for dataset, runs in trained if runs]
    if not shown:
        raise NotFinishedError(f"{lab.out} holds no finished training of this figure: leave out --finished")
    figure, axes = panels(len(shown))
    rows: list[Row] = []
    verdict = [f"{dataset.label}: not run." for dataset, runs in trained if not runs]
    for ax, (dataset, runs) in zip(axes, shown, strict=True):
        printed = FIG6.get(dataset.paper.name.removesuffix(", 1-D"), {})
        stats = {
            rule: [mean_and_spread(seeds) for seeds in zip(*(run.accuracies for run in runs[rule]), strict=True)]
            for rule in runs
        }
        first = next(iter(runs.values()))
        rows += [_row(rule, epoch, runs[rule]) for rule in runs for epoch in range(len(stats[rule]))]
        rows += [
            published(dataset.paper.name, rule=RULES[rule].title, accuracy=value) for rule, value in printed.items()
        ]
        verdict.append(_verdict(dataset, runs, printed))
        label_panel(ax, first, x="epoch", y="test accuracy, %")
        if first[0].config["epochs"] > 1:
            _curves(ax, stats, printed)
        else:
            _bars(ax, stats, printed)
    axes[0].plot([], [], color="black", linestyle=":", linewidth=1, label="published, on the paper's data")
    legend = {label: line for ax in axes for line, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=4)
    notes = [
        "Lines are means over the seeds, bands one standard deviation; one epoch is drawn as bars. RewardPrediction, a "
        "fixed random local classifier (Mostafa et al. 2018; DECOLLE, Kaiser et al. 2020), is an addition to the "
        "published figure, and so is speech in the 2-D layout; OutputOnly, whose hidden layers stay random, is what "
        "every rule must beat.",
        "The weights of OutputOnly, and of all rules on 1-D speech unless the budget is paper, start calibrated: "
        "scaled on training samples, without their labels, so that every layer fires. The others start as torch draws "
        "them.",
        *lab.left_out(*DATASETS),
    ]
    return Result("fig6", "test accuracy over the epochs", figure, rows, verdict, notes)


def _curves(ax: Axes, stats: Stats, printed: Mapping[str, float]) -> None:
    for rule, epochs in stats.items():
        mean_band(ax, range(1, len(epochs) + 1), epochs, color=RULES[rule].color, label=RULES[rule].title)
    for rule, value in printed.items():
        ax.axhline(value, color=RULES[rule].color, linestyle=":", linewidth=1)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def _bars(ax: Axes, stats: Stats, printed: Mapping[str, float]) -> None:
    """One epoch is no curve: a bar each, with its height written in it."""
    for place, (rule, ((mean, spread),)) in enumerate(stats.items()):
        ax.bar(
            place,
            mean,
            yerr=spread,
            color=RULES[rule].color,
            alpha=0.85,
            capsize=3,
            label=RULES[rule].title,
        )
        ax.text(place, mean / 2, f"{mean:.1f}", ha="center", color="white")
        if rule in printed:
            ax.hlines(printed[rule], place - 0.4, place + 0.4, color="black", linestyle=":", linewidth=1)
    ax.set(xlabel="", xticks=[])


def _row(rule: str, epoch: int, runs: Sequence[Run]) -> Row:
    mean, spread = mean_and_spread(run.accuracies[epoch] for run in runs)
    return {**provenance(runs), "rule": RULES[rule].title, "epoch": epoch + 1, "accuracy": mean, "sd": spread}


def _verdict(dataset: DatasetInUse, runs: Mapping[str, Sequence[Run]], printed: Mapping[str, float]) -> str:
    parts = []
    for rule in RULES:
        if rule not in runs:
            parts.append(f"{RULES[rule].title} not run")
            continue
        mean, spread = mean_and_spread(run.accuracies[-1] for run in runs[rule])
        beside = f" (published {printed[rule]:.2f})" if dataset.own and rule in printed else ""
        parts.append(f"{RULES[rule].title} {format_mean(mean, spread, unit=' %')}{beside}")
    elsewhere = ""
    if printed and not dataset.own:
        there = ", ".join(f"{RULES[rule].title} {value:.2f}" for rule, value in printed.items())
        elsewhere = f". Published on {dataset.paper.name}, other data: {there}"
    return f"{effort(next(iter(runs.values())))}: {', '.join(parts)}{elsewhere}."
