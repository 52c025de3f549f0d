"""Figures of training and of activity, through snntorch.spikeplot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import snntorch.spikeplot as splt
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import Tensor

from snntorch_brp.activity import Activity


def learning_curve(rows: Sequence[Mapping[str, float]], *, title: str = "") -> Figure:
    """Loss and accuracy over the epochs.

    Args:
        rows: One an epoch, as :meth:`snntorch_brp.training.EpochResult.row` gives them.
        title: Title of the figure.

    Raises:
        ValueError: If there are no rows.
    """
    if not rows:
        raise ValueError("a learning curve needs at least one epoch")
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    epochs = [row["epoch"] for row in rows]
    for ax, quantity in zip(axes, ("loss", "accuracy"), strict=True):
        for key, label in ((quantity, "training"), (f"validation_{quantity}", "validation")):
            if key in rows[0]:
                ax.plot(epochs, [row[key] for row in rows], marker="o", markersize=3, label=label)
        ax.set(xlabel="epoch", ylabel=quantity)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(alpha=0.3)
    axes[1].yaxis.set_major_formatter(PercentFormatter(1.0))
    axes[1].legend()
    figure.suptitle(title)
    return figure


def spike_raster(
    activity: Mapping[str, Activity],
    *,
    inputs: Tensor | None = None,
    sample: int = 0,
    neurons: int = 100,
    title: str = "",
) -> Figure:
    """Spikes of every layer over time, for one sample.

    Args:
        activity: From :func:`snntorch_brp.sequence.observe`.
        inputs: Input spikes, ``[T, B, *]``, drawn on top.
        sample: Number of the sample in the batch.
        neurons: How many neurons of a layer to draw, evenly spaced.
        title: Title of the figure.

    Raises:
        ValueError: If there is no activity.
    """
    trains = {} if inputs is None else {"input": inputs}
    trains |= {name: layer.spikes for name, layer in activity.items()}
    if not trains:
        raise ValueError("a raster needs the activity of at least one layer")
    figure, axes = plt.subplots(
        len(trains), 1, figsize=(8, 1.8 * len(trains)), sharex=True, layout="constrained", squeeze=False
    )
    for ax, (name, spikes) in zip(axes[:, 0], trains.items(), strict=True):
        train = spikes[:, sample].flatten(1).cpu()
        shown = train[:, :: max(1, train.shape[1] // neurons)]
        splt.raster(shown, ax, s=min(40.0, 400 / shown.shape[1]), c="black", marker="o", linewidths=0)
        rate = f"{(train != 0).float().mean():.1%} fire at a step"
        drawn = "" if shown.shape == train.shape else f", {shown.shape[1]} of them drawn"
        ax.set_title(f"{name}: {train.shape[1]} neurons, {rate}{drawn}", fontsize=9, loc="left")
        ax.set(ylabel="neuron", xlim=(-0.5, len(train) - 0.5), ylim=(-1, shown.shape[1]))
    axes[-1, 0].set_xlabel("time step")
    axes[-1, 0].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(title)
    return figure


def membrane_traces(
    activity: Activity,
    *,
    threshold: float,
    sample: int = 0,
    neurons: int = 9,
    generator: torch.Generator | None = None,
    title: str = "",
) -> Figure:
    """Membrane potentials of random neurons of one layer, with their spikes (as Fig. 7 of the paper).

    Args:
        activity: The layer's, from :func:`snntorch_brp.sequence.observe`.
        threshold: The layer's threshold, drawn as a dashed line.
        sample: Number of the sample in the batch.
        neurons: How many neurons to draw.
        generator: Source of the choice.
        title: Title of the figure.
    """
    membrane, spikes = (x[:, sample].flatten(1).float().cpu() for x in (activity.membrane, activity.spikes))
    neurons = min(neurons, membrane.shape[1])
    chosen = torch.randperm(membrane.shape[1], generator=generator)[:neurons].sort().values.tolist()
    columns = min(3, neurons)
    rows = -(-neurons // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(8, 1.5 * rows + 1), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for ax in axes.flat[neurons:]:
        ax.set_visible(False)
    for ax, neuron in zip(axes.flat, chosen, strict=False):
        ax.plot(membrane[:, neuron], color="black", linewidth=1)
        fired = spikes[:, neuron].nonzero().flatten()
        ax.plot(fired, membrane[fired, neuron], "o", color="tab:red", markersize=4)
        ax.axhline(threshold, color="gray", linestyle="--", linewidth=0.8)
        ax.set_title(f"neuron {neuron}", fontsize=9)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.supxlabel("time step", fontsize=10)
    figure.supylabel("membrane potential", fontsize=10)
    figure.suptitle(f"{title}\nred: the neuron fires; dashed: its threshold, {threshold:g}", fontsize=10)
    return figure


def confusion_matrix(confusion: Tensor, *, title: str = "") -> Figure:
    """How often each true class was taken for which, ``[K, K]``."""
    from sklearn.metrics import ConfusionMatrixDisplay

    size = 3 + 0.35 * len(confusion)
    figure, ax = plt.subplots(figsize=(size, size), layout="constrained")
    ConfusionMatrixDisplay(confusion.cpu().numpy()).plot(ax=ax, colorbar=False, cmap="Blues")
    ax.set(xlabel="taken for", ylabel="true class")
    figure.suptitle(title)
    return figure
