"""Fig. 9: the share of silent neurons in each layer against the share of input spikes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from snntorch_brp.analysis import analyse
from snntorch_brp.data.loader import batches
from snntorch_brp.paper.budgets import MNIST, TIDIGITS_2D, Setting
from snntorch_brp.paper.lab import Lab, Probe, Run
from snntorch_brp.paper.published import FIG9
from snntorch_brp.paper.report import Result
from snntorch_brp.paper.style import (
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
from snntorch_brp.tasks.base import Sets
from snntorch_brp.training import Trainer

SLOTS = (MNIST, TIDIGITS_2D)
SHARES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
SAMPLES = 100
STYLES = {"data": "-", "random": "--"}


class SilenceProbe(Probe):
    """After training: silent neurons in every layer, for inputs with a given share of spikes."""

    name = "silence"

    def start(self, trainer: Trainer, sets: Sets) -> None:
        """Keep the samples."""
        self.x = next(iter(batches(sets.test, SAMPLES)))[0].to(trainer.device)

    def finish(self, trainer: Trainer) -> None:
        """Measure: one row an input and layer."""
        for share in SHARES:
            for source, spikes in inputs(self.x, share, trainer.encoder).items():
                counts = analyse(trainer.net, lambda spikes=spikes: trainer.run(spikes))  # type: ignore[misc]
                for name, layer in counts.layers.items():
                    row = {"input": source, "share": share, "measured share": float(spikes.mean()), "layer": name}
                    self.rows.append(row | {"silent": layer.silent_share, "unreached": layer.unreached_share})


def inputs(x: Tensor, share: float, encoder: Any) -> dict[str, Tensor]:
    """Input spikes of which a given share fires, 0..1, by two ways.

    Args:
        x: Samples in 0..1, ``[B, *]``.
        share: Share of input neurons that fire at a step.
        encoder: A rate encoder with an ``alpha``.

    Returns:
        "data": the samples, with the α of eq. 3 that gives this share; left out where no α does, because more of
        their elements are 0. "random": every input neuron fires with this probability.
    """
    with torch.random.fork_rng([x.device] if x.is_cuda else []):
        torch.manual_seed(0)
        example = encoder(x)
        found = {"random": (torch.rand_like(example) < share).to(example.dtype)}
        alpha = alpha_for(x, share)
        if alpha is not None:
            found["data"] = dataclasses.replace(encoder, alpha=alpha)(x)
    return found


def alpha_for(x: Tensor, share: float) -> float | None:
    """The α of eq. 3 under which a share of the inputs fires, mean(min(x / α, 1)) = share; None where none does.

    Example:
        >>> round(alpha_for(torch.tensor([0.0, 0.5]), 0.25), 6)
        1.0
    """
    low, high = 1e-6, 1e6
    if float((x / low).clamp(max=1).mean()) < share:
        return None
    for _ in range(60):  # bisection in the logarithm: the share falls with α
        middle = (low * high) ** 0.5
        if float((x / middle).clamp(max=1).mean()) > share:
            low = middle
        else:
            high = middle
    return high


def reproduce(lab: Lab) -> Result:
    """Train under BRP, then measure."""
    settings = lab.settings(*SLOTS)
    figure, axes = panels(len(settings))
    rows: list[Row] = []
    verdict = []
    for ax, setting in zip(axes, settings, strict=True):
        runs = [lab.train(setting, "brp", seed, probe=SilenceProbe) for seed in lab.seeds(setting)]
        measured = _rows(runs)
        printed = FIG9[setting.slot.name.removesuffix(", 2-D")]
        kinds = ("convolution", "FC1000")
        rows += measured
        rows += [
            published(setting.slot.name, layer=kind, share=0.4, silent=value / 100)
            for kind, value in zip(kinds, printed, strict=True)
        ]
        hidden = list(dict.fromkeys(row["layer"] for row in measured))[:-1]
        _draw(ax, measured, hidden)
        for place, value in enumerate(printed):
            ax.plot(40, value, marker="*", ms=10, color=f"C{place}", linestyle="none", alpha=0.6)
        head_panel(ax, runs, x="input spikes, %", y="silent neurons, %")
        ax.set_ylim(-2, 102)
        verdict.append(_verdict(setting, runs, measured, hidden, printed))
    axes[0].plot([], [], marker="*", ms=10, color="gray", linestyle="none", label="published, convolution and FC1000")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    notes = [
        f"A neuron is silent for a sample if it received no spike or never fired in T. Mean over {SAMPLES} samples "
        "and the seeds, bands one standard deviation. The share of input spikes is set in two ways: the samples with "
        "another α of eq. 3 (solid; ends where no more of their elements are above 0), and input neurons that all fire "
        "at random (dashed).",
        *lab.missing(*SLOTS),
    ]
    return Result("fig9", "silent neurons against input spikes", figure, rows, verdict, notes)


def _rows(runs: Sequence[Run]) -> list[Row]:
    rows = []
    for place, row in enumerate(runs[0].found):
        silent, silent_sd = mean_and_spread(run.found[place]["silent"] for run in runs)
        unreached, _ = mean_and_spread(run.found[place]["unreached"] for run in runs)
        actual, _ = mean_and_spread(run.found[place]["measured share"] for run in runs)
        values = {"silent": silent, "sd": silent_sd, "unreached": unreached, "measured share": actual}
        rows.append({**told(runs), **{key: row[key] for key in ("input", "layer", "share")}, **values})
    return rows


def _draw(ax: Axes, rows: Sequence[Row], hidden: Sequence[str]) -> None:
    for place, layer in enumerate(hidden):
        for source, style in STYLES.items():
            shown = [row for row in rows if row["layer"] == layer and row["input"] == source]
            if shown:
                share = [100 * row["measured share"] for row in shown]
                stats = [(100 * row["silent"], 100 * row["sd"]) for row in shown]
                band(ax, share, stats, style, color=f"C{place}", label=f"{layer}, {source} input")


def _verdict(
    setting: Setting, runs: Sequence[Run], rows: Sequence[Row], hidden: Sequence[str], printed: tuple[float, float]
) -> str:
    most = {(row["layer"], row["input"]): row for row in rows}  # the last, with the most spikes
    parts = [
        f"{layer} {quote(100 * row['silent'], 100 * row['sd'], 1, ' %')} silent at {100 * row['measured share']:.0f} % "
        f"{source} input"
        for (layer, source), row in most.items()
        if layer in hidden
    ]
    other = "" if setting.own else ", other data"
    there = f"Published on {setting.slot.name}{other}, at 40 %: {printed[0]:.2f} (conv), {printed[1]:.2f} (FC1000)"
    return f"{spent(runs)}: {', '.join(parts)}. {there}."
