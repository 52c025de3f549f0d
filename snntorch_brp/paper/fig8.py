"""Fig. 8: accuracy against the number of time steps T, BRP beside pseudo-BP."""

from __future__ import annotations

from collections.abc import Sequence

from snntorch_brp.paper.budgets import CIFAR10, DVSGESTURE, MNIST, TIDIGITS_1D, Setting
from snntorch_brp.paper.lab import Lab, Run
from snntorch_brp.paper.published import FIG8
from snntorch_brp.paper.report import Result
from snntorch_brp.paper.style import (
    COLORS,
    RULES,
    Row,
    epochs,
    head_panel,
    mean_and_spread,
    panels,
    published,
    quote,
    told,
)

SLOTS = (MNIST, CIFAR10, TIDIGITS_1D, DVSGESTURE)
COMPARED = ("brp", "backprop")


def reproduce(lab: Lab) -> Result:
    """Train at every T under both rules."""
    settings = lab.settings(*SLOTS)
    figure, axes = panels(len(settings))
    rows: list[Row] = []
    verdict = []
    for ax, setting in zip(axes, settings, strict=True):
        all_steps = lab.budget.fig8_steps or setting.slot.steps
        printed = FIG8[setting.slot.name.removesuffix(", 1-D")]
        for rule in COMPARED:
            runs = [[lab.train(setting, rule, seed, steps=T) for seed in lab.seeds(setting)] for T in all_steps]
            measured = [_row(rule, at_T) for at_T in runs]
            rows += measured
            means, spreads = ([row[key] for row in measured] for key in ("accuracy", "sd"))
            ax.errorbar(all_steps, means, spreads, color=COLORS[rule], marker="o", ms=4, capsize=3, label=RULES[rule])
            if rule == "brp":
                verdict.append(_verdict(setting, measured, printed))
        rows += [published(setting.slot.name, rule=RULES["brp"], accuracy=value) for value in sorted(set(printed))]
        for value in set(printed):
            ax.axhline(value, color=COLORS["brp"], linestyle=":", linewidth=1)
        head_panel(ax, runs[0], x="time steps T", y="test accuracy, %")
        ax.set_xticks(all_steps)
    axes[0].plot([], [], color=COLORS["brp"], linestyle=":", label="TP_BRP, published,\nleast and most over T")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    notes = ["Means over the seeds after the last epoch; bars are one standard deviation.", *lab.missing(*SLOTS)]
    return Result("fig8", "accuracy against the number of time steps", figure, rows, verdict, notes)


def _row(rule: str, runs: Sequence[Run]) -> Row:
    mean, spread = mean_and_spread(run.accuracies[-1] for run in runs)
    return {**told(runs), "rule": RULES[rule], "accuracy": mean, "sd": spread}


def _verdict(setting: Setting, rows: Sequence[Row], printed: tuple[float, float]) -> str:
    ours = ", ".join(f"T = {row['T']}: {quote(row['accuracy'], row['sd'], unit=' %')}" for row in rows)
    other = "" if setting.own else ", other data"
    span = f"{printed[0]:.2f}" if printed[0] == printed[1] else f"{printed[0]:.2f} to {printed[1]:.2f}"
    given = f"{rows[0]['split'].partition('; ')[2]}, {epochs(rows[0]['epochs'])}"
    return f"{setting.label} ({given}), BRP: {ours}. Published on {setting.slot.name}{other}: {span}."
