"""Figures of training and of activity, through snntorch.spikeplot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import snntorch.spikeplot as splt
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import Tensor

from snntorch_brp.unroll import Activity


def learning_curve(rows: Sequence[Mapping[str, float]], *, title: str = "") -> Figure:
    """Loss and accuracy over the epochs.

    Args:
        rows: One an epoch, as :meth:`snntorch_brp.trainer.EpochResult.row` gives them.
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
        activity: From :func:`snntorch_brp.unroll.observe`.
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
        train = spikes[:, sample].flatten(1)
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
    """Membrane potentials of random neurons of one layer, their spikes riding on top (as Fig. 7 of the paper).

    Args:
        activity: The layer's, from :func:`snntorch_brp.unroll.observe`.
        threshold: The layer's threshold, drawn as a dashed line.
        sample: Number of the sample in the batch.
        neurons: How many neurons to draw.
        generator: Source of the choice.
        title: Title of the figure.
    """
    membrane, spikes = (x[:, sample].flatten(1) for x in (activity.membrane, activity.spikes))
    neurons = min(neurons, membrane.shape[1])
    chosen = torch.randperm(membrane.shape[1], generator=generator)[:neurons].sort().values
    columns = min(3, neurons)
    rows = -(-neurons // columns)
    figure = plt.figure(figsize=(8, 1.5 * rows + 1))
    splt.traces(
        membrane[:, chosen],
        spk=spikes[:, chosen],
        dim=(rows, columns) if rows * columns == neurons else (neurons, 1),
        spk_height=2,
        titles=[f"neuron {i}" for i in chosen.tolist()],
    )
    for ax in figure.axes:
        ax.set_axis_on()
        ax.axhline(threshold, color="gray", linestyle="--", linewidth=0.8)
        ax.set(xlabel="time step", ylabel="membrane")
        ax.label_outer()
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(
        f"{title}\nmembrane potential, raised by 2 where the neuron fires; dashed: threshold {threshold:g}, no unit",
        fontsize=10,
    )
    figure.tight_layout()
    return figure


def confusion_matrix(confusion: Tensor, *, title: str = "") -> Figure:
    """How often each true class was taken for which, ``[K, K]``."""
    from sklearn.metrics import ConfusionMatrixDisplay

    size = 3 + 0.35 * len(confusion)
    figure, ax = plt.subplots(figsize=(size, size), layout="constrained")
    ConfusionMatrixDisplay(confusion.numpy()).plot(ax=ax, colorbar=False, cmap="Blues")
    ax.set(xlabel="taken for", ylabel="true class")
    figure.suptitle(title)
    return figure
