"""Fig. 5: the angle between each propagation's change of the hidden layers and the true gradient, over training."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.ticker import MaxNLocator

from snntorch_brp.analysis import AlignmentMonitor
from snntorch_brp.data.loader import batches
from snntorch_brp.paper.budgets import MNIST
from snntorch_brp.paper.lab import Lab, Probe, Run
from snntorch_brp.paper.report import Result
from snntorch_brp.paper.style import COLORS, RULES, Row, band, mean_and_spread, panels, quote, spent, told
from snntorch_brp.tasks.base import Sets
from snntorch_brp.training import EpochResult, Trainer

COMPARED = ("brp", "error", "sign", "reward-prediction")
SAMPLES = 100


class AngleProbe(Probe):
    """The angle of the rule in use, on the first training samples, before training and after every epoch."""

    name = "angle"

    def start(self, trainer: Trainer, sets: Sets) -> None:
        """Measure the untrained network."""
        x, labels = next(iter(batches(sets.train, SAMPLES)))
        self.monitor = AlignmentMonitor(x, labels)
        self._measure(trainer, 0)

    def on_epoch_end(self, trainer: Trainer, result: EpochResult) -> None:
        """Measure."""
        self._measure(trainer, result.epoch)

    def _measure(self, trainer: Trainer, epoch: int) -> None:
        self.monitor.measure(trainer, epoch)
        _, _, angles = self.monitor.history[-1]
        self.rows.append({"epoch": epoch, "angles": {n: None if math.isnan(a) else a for n, a in angles.items()}})


def reproduce(lab: Lab) -> Result:
    """Train under every rule with the probe."""
    (setting,) = lab.settings(MNIST)
    runs = {r: [lab.train(setting, r, seed, probe=AngleProbe) for seed in lab.seeds(setting)] for r in COMPARED}
    hidden = list(runs["brp"][0].found[0]["angles"])[:-1]
    figure, axes = panels(len(hidden))
    rows: list[Row] = []
    for ax, layer in zip(axes, hidden, strict=True):
        for rule in COMPARED:
            measured = _rows(rule, layer, runs[rule])
            rows += measured
            shown = [row for row in measured if row["seeds seen"]]
            stats = [(row["angle"], row["sd"]) for row in shown]
            band(ax, [row["epoch"] for row in shown], stats, color=COLORS[rule], label=RULES[rule])
        ax.axhline(90, color="gray", linestyle="--", linewidth=0.8)
        ax.set(title=f"layer {layer}", xlabel="epoch", ylabel="angle to the true gradient, degrees")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.suptitle(spent(runs["brp"]))
    verdict = [_verdict(layer, rows) for layer in hidden]
    notes = [
        f"Each rule trains a network of its own; on the same {SAMPLES} training samples its change of a layer's "
        "weights and biases is compared with that of pseudo-BP at the same weights. 0 degrees is the same direction, "
        "90 (dashed) what random directions have; below it a small step lowers the loss. An angle is missing where the "
        "true gradient is zero, as while no output neuron comes near its threshold.",
        "Of the published figure only the statement is quoted, that BRP's direction comes close to the error's.",
    ]
    return Result("fig5", "angle between each rule's change and the true gradient", figure, rows, verdict, notes)


def _rows(rule: str, layer: str, runs: Sequence[Run]) -> list[Row]:
    rows = []
    for place, row in enumerate(runs[0].found):
        angles = [angle for run in runs if (angle := run.found[place]["angles"][layer]) is not None]
        mean, spread = mean_and_spread(angles) if angles else (math.nan, math.nan)
        values = {"layer": layer, "epoch": row["epoch"], "angle": mean, "sd": spread, "seeds seen": len(angles)}
        rows.append({**told(runs), "rule": RULES[rule], **values})
    return rows


def _verdict(layer: str, rows: Sequence[Row]) -> str:
    last = {row["rule"]: row for row in rows if row["layer"] == layer}
    parts = ", ".join(f"{rule} {quote(row['angle'], row['sd'], 1, '°')}" for rule, row in last.items())
    brp, error = last[RULES["brp"]]["angle"], last[RULES["error"]]["angle"]
    return (
        f"{layer}, after the last epoch: {parts}. BRP's angle differs from TP_err's by {abs(brp - error):.1f}° "
        "(published: their directions are close)."
    )
