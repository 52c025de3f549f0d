"""Fig. 6: test accuracy over the epochs, under every propagation, on the paper's tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from snntorch_brp.paper.budgets import CIFAR10, DVSGESTURE, MNIST, TIDIGITS_1D, TIDIGITS_2D, Setting
from snntorch_brp.paper.lab import Lab, Run
from snntorch_brp.paper.published import FIG6
from snntorch_brp.paper.report import Result
from snntorch_brp.paper.style import (
    COLORS,
    RULES,
    Row,
    band,
    head_panel,
    mean_and_spread,
    panels,
    published,
    quote,
    spent,
    told,
)

SLOTS = (MNIST, CIFAR10, TIDIGITS_1D, TIDIGITS_2D, DVSGESTURE)
Stats = Mapping[str, Sequence[tuple[float, float]]]  # mean and spread by rule and epoch


def reproduce(lab: Lab) -> Result:
    """Train under every rule and seed on every task that there is data for."""
    settings = lab.settings(*SLOTS)
    figure, axes = panels(len(settings))
    rows: list[Row] = []
    verdict = []
    for ax, setting in zip(axes, settings, strict=True):
        runs = {rule: [lab.train(setting, rule, seed) for seed in lab.seeds(setting)] for rule in RULES}
        printed = FIG6.get(setting.slot.name.removesuffix(", 1-D"), {})
        stats = {
            rule: [mean_and_spread(seeds) for seeds in zip(*(run.accuracies for run in runs[rule]), strict=True)]
            for rule in RULES
        }
        rows += [_row(rule, epoch, runs[rule]) for rule in RULES for epoch in range(len(stats[rule]))]
        rows += [published(setting.slot.name, rule=RULES[rule], accuracy=value) for rule, value in printed.items()]
        verdict.append(_verdict(setting, runs, printed))
        head_panel(ax, runs["brp"], x="epoch", y="test accuracy, %")
        if len(stats["brp"]) > 1:
            _curves(ax, stats, printed)
        else:
            _bars(ax, stats, printed)
    axes[0].plot([], [], color="black", linestyle=":", linewidth=1, label="published, on the paper's data")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    notes = [
        "Lines are means over the seeds, bands one standard deviation; one epoch is drawn as bars. RewardPrediction, a "
        "fixed random local classifier (Mostafa et al. 2018; DECOLLE, Kaiser et al. 2020), is an addition to the "
        "published figure, and so is speech in the 2-D layout; OutputOnly, whose hidden layers stay random, is what "
        "every rule must beat.",
        "The weights of OutputOnly, and of all rules on 1-D speech unless the budget is full, start calibrated: scaled "
        "on training samples, without their labels, so that every layer fires. The others start as torch draws them.",
        *lab.missing(*SLOTS),
    ]
    return Result("fig6", "test accuracy over the epochs", figure, rows, verdict, notes)


def _curves(ax: Axes, stats: Stats, printed: Mapping[str, float]) -> None:
    for rule, epochs in stats.items():
        band(ax, range(1, len(epochs) + 1), epochs, color=COLORS[rule], label=RULES[rule])
    for rule, value in printed.items():
        ax.axhline(value, color=COLORS[rule], linestyle=":", linewidth=1)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def _bars(ax: Axes, stats: Stats, printed: Mapping[str, float]) -> None:
    """One epoch is no curve: a bar each, with its height written in it."""
    for place, (rule, ((mean, spread),)) in enumerate(stats.items()):
        ax.bar(place, mean, yerr=spread, color=COLORS[rule], alpha=0.85, capsize=3, label=RULES[rule])
        ax.text(place, mean / 2, f"{mean:.1f}", ha="center", color="white")
        if rule in printed:
            ax.hlines(printed[rule], place - 0.4, place + 0.4, color="black", linestyle=":", linewidth=1)
    ax.set(xlabel="", xticks=[])


def _row(rule: str, epoch: int, runs: Sequence[Run]) -> Row:
    mean, spread = mean_and_spread(run.accuracies[epoch] for run in runs)
    return {**told(runs), "rule": RULES[rule], "epoch": epoch + 1, "accuracy": mean, "sd": spread}


def _verdict(setting: Setting, runs: dict[str, list[Run]], printed: Mapping[str, float]) -> str:
    parts = []
    for rule in RULES:
        mean, spread = mean_and_spread(run.accuracies[-1] for run in runs[rule])
        beside = f" (published {printed[rule]:.2f})" if setting.own and rule in printed else ""
        parts.append(f"{RULES[rule]} {quote(mean, spread, unit=' %')}{beside}")
    told_apart = ""
    if printed and not setting.own:
        there = ", ".join(f"{RULES[rule]} {value:.2f}" for rule, value in printed.items())
        told_apart = f". Published on {setting.slot.name}, other data: {there}"
    return f"{spent(runs['brp'])}: {', '.join(parts)}{told_apart}."
