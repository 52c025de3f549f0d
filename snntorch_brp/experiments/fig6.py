"""Fig. 6: test accuracy over the epochs, under every propagation, on the paper's four tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.ticker import MaxNLocator

from snntorch_brp.experiments.common import Lab, Run
from snntorch_brp.experiments.presentation import (
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
from snntorch_brp.experiments.published import FIG6
from snntorch_brp.experiments.report import Result
from snntorch_brp.experiments.settings import CIFAR10, DVSGESTURE, MNIST, TIDIGITS_1D, Setting

SLOTS = (MNIST, CIFAR10, TIDIGITS_1D, DVSGESTURE)


def reproduce(lab: Lab) -> Result:
    """Train under every rule and seed on every task that there is data for."""
    settings = lab.settings(*SLOTS)
    figure, axes = panels(len(settings))
    rows: list[Row] = []
    verdict = []
    for ax, setting in zip(axes, settings, strict=True):
        runs = {rule: [lab.train(setting, rule, seed) for seed in lab.seeds()] for rule in RULES}
        printed = FIG6[setting.slot.name.removesuffix(", 1-D")]
        for rule in RULES:
            rows += [_row(rule, epoch, runs[rule]) for epoch in range(len(runs[rule][0].epochs))]
            stats = [mean_and_spread(values) for values in zip(*(run.accuracies for run in runs[rule]), strict=True)]
            band(ax, range(1, len(stats) + 1), stats, color=COLORS[rule], label=RULES[rule])
        for rule, value in printed.items():
            rows.append(published(setting.slot.name, rule=RULES[rule], accuracy=value))
            ax.axhline(value, color=COLORS[rule], linestyle=":", linewidth=1)
        verdict.append(_verdict(setting, runs, printed))
        head_panel(ax, runs["brp"], x="epoch", y="test accuracy, %")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].plot([], [], color="black", linestyle=":", linewidth=1, label="published, on the paper's data")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    notes = [
        "Lines are means over the seeds, bands one standard deviation. RewardPrediction is this project's own rule; "
        "OutputOnly, whose hidden layers stay random, is what every rule must beat.",
        *lab.missing(*SLOTS),
    ]
    return Result("fig6", "test accuracy over the epochs", figure, rows, verdict, notes)


def _row(rule: str, epoch: int, runs: Sequence[Run]) -> Row:
    mean, spread = mean_and_spread(run.accuracies[epoch] for run in runs)
    return {**told(runs), "rule": RULES[rule], "epoch": epoch + 1, "accuracy": mean, "sd": spread}


def _verdict(setting: Setting, runs: dict[str, list[Run]], printed: Mapping[str, float]) -> str:
    parts = []
    for rule in RULES:
        mean, spread = mean_and_spread(run.accuracies[-1] for run in runs[rule])
        beside = f" (published {printed[rule]:.2f})" if setting.own and rule in printed else ""
        parts.append(f"{RULES[rule]} {quote(mean, spread)} %{beside}")
    told_apart = ""
    if not setting.own:
        there = ", ".join(f"{RULES[rule]} {value:.2f}" for rule, value in printed.items())
        told_apart = f". Published on {setting.slot.name}, other data: {there}"
    return f"{spent(runs['brp'])}: {', '.join(parts)}{told_apart}."
