"""How results are told: names and colours of the rules, what must stand beside a number, panels and bands."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snntorch_brp.paper.lab import Run

RULES = {
    "brp": "TP_BRP",
    "error": "TP_err",
    "sign": "TP_sign",
    "reward-prediction": "RewardPrediction",
    "backprop": "pseudo-BP",
    "output-only": "OutputOnly",
}
COLORS = dict(zip(RULES, ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#333333", "#999999"), strict=True))

Row = dict[str, Any]


def told(runs: Sequence[Run]) -> Row:
    """What must stand beside every figure: data set, split, network, epochs, weights, seeds, device."""
    first = runs[0]
    limited = ", limited by the budget" if first.config["limit_train"] is not None else ""
    return {
        "source": "measured",
        "data": first.label,
        "split": f"{first.split}; {first.train} train, {first.test} test{limited}",
        "network": first.config["model"],
        "T": first.config["steps"],
        "epochs": first.config["epochs"],
        "batch": first.config["batch_size"],
        "lr": f"{first.config['lr']:g} {first.config['schedule']}",
        "weights": first.config.get("weights", "torch"),
        "seeds": len(runs),
        "device": first.machine,
    }


def spent(runs: Sequence[Run]) -> str:
    """The data set and what training was given, in short."""
    first = runs[0]
    config = first.config
    return f"{first.label} ({first.train:,} training samples, {epochs(config['epochs'])}, T = {config['steps']})"


def epochs(count: int) -> str:
    """A number of epochs as text."""
    return f"{count} epoch{'' if count == 1 else 's'}"


def head_panel(ax: Axes, runs: Sequence[Run], *, x: str, y: str) -> None:
    """Title and axes of a panel: the data set, what training was given, what is drawn."""
    first = runs[0]
    given = f"{first.train:,} training samples, {epochs(first.config['epochs'])}"
    ax.set_title(f"{first.label.replace(', in place', chr(10) + 'in place')}\n{given}", fontsize=10)
    ax.set(xlabel=x, ylabel=y)


def panels(count: int) -> tuple[Figure, list[Axes]]:
    """A figure with a panel each, two in a row, and room below for a legend."""
    columns, rows = min(count, 2), -(-count // 2)
    size = (10.4 if columns == 2 else 8, 3.7 * rows + 0.7)  # wide enough for the legend
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for ax in axes.flat[count:]:
        ax.set_axis_off()
    for ax in axes.flat[:count]:
        ax.grid(alpha=0.3)
    return figure, list(axes.flat[:count])


def band(ax: Axes, x: Sequence[float], stats: Sequence[tuple[float, float]], style: str = "-", **line: Any) -> None:
    """A line of means and a band of one standard deviation around it."""
    means = [mean for mean, _ in stats]
    drawn = ax.plot(x, means, style, marker="o" if len(means) < 20 else None, ms=3, **line)
    low, high = ([mean + sign * sd for mean, sd in stats] for sign in (-1, 1))
    ax.fill_between(x, low, high, color=drawn[0].get_color(), alpha=0.15, linewidth=0)


def published(data: str, **values: Any) -> Row:
    """A row of the paper's, marked as such."""
    return {"source": "published", "data": data, **values}


def mean_and_spread(values: Iterable[float]) -> tuple[float, float]:
    """Mean and standard deviation (of the sample; NaN where there is one value)."""
    values = list(values)
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan


def quote(mean: float, spread: float, digits: int = 2, unit: str = "") -> str:
    """A mean and its spread as text.

    Example:
        >>> quote(98.888, 0.1234), quote(98.888, math.nan, 1, unit=" %")
        ('98.89 ± 0.12', '98.9 % (one seed)')
    """
    if math.isnan(spread):
        return f"{mean:.{digits}f}{unit} (one seed)"
    return f"{mean:.{digits}f} ± {spread:.{digits}f}{unit}"
