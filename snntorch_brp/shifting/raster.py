"""A raster of spike times: who fires when, layer by layer."""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from snntorch_brp.shifting.network import ShiftingNetwork
from snntorch_brp.shifting.spikes import SILENT, Events, one_spike_each
from snntorch_brp.shifting.training import Spikes, select


def spike_times(net: ShiftingNetwork, spikes: Spikes, *, title: str = "") -> Figure:
    """Draw the spike times of the first sample, inputs at the bottom, outputs on top.

    Time runs in t = ln z, as a clock would show it. Silent neurons have no dot; the earliest output, the answer of
    the network, is marked.

    Args:
        net: The network.
        spikes: A batch of input spikes, of which the first sample is drawn.
        title: Title of the figure.
    """
    first = select(spikes, torch.tensor([0]))
    inputs = first if isinstance(first, Events) else one_spike_each(first)
    rows = [("input", inputs.n_in, inputs.times[0], inputs.synapses[0])]
    for depth, times in enumerate(net.times(first), start=1):
        name = "output" if depth == len(net.layers) else f"layer {depth}"
        rows.append((name, times.shape[1], times[0], torch.arange(times.shape[1])))

    figure, axes = plt.subplots(
        len(rows), 1, sharex=True, figsize=(7, 1.6 + 1.4 * len(rows)), layout="constrained", squeeze=False
    )
    for ax, (name, neurons, times, index) in zip(axes[::-1, 0], rows, strict=True):
        fired = times < SILENT
        ax.scatter(times[fired].log(), index[fired], s=24 if neurons < 50 else 3, marker="|", color="black")
        ax.set(ylabel=name, ylim=(-0.5, neurons - 0.5))
        ax.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    times = rows[-1][2]
    if bool((times < SILENT).any()):
        answer = int(times.argmin())
        axes[0, 0].scatter([float(times[answer].log())], [answer], s=90, facecolors="none", edgecolors="tab:red")
        axes[0, 0].set_title(f"{title}: earliest output {answer}" if title else f"earliest output {answer}")
    axes[-1, 0].set_xlabel("t = ln z")
    return figure
