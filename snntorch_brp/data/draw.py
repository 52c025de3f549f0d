"""Pictures of what a recording holds and of what the network sees of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from snntorch import spikeplot
from torch import Tensor


def frames_over_time(spikes: Tensor, *, title: str = "", columns: int = 8) -> Figure:
    """Some frames of an event recording side by side, evenly spaced in time.

    Args:
        spikes: ``[T, C, height, width]``, C = 1 or 2 polarities (drawn in blue for 0 and red for 1).
        title: Above the picture.
        columns: How many frames to draw.
    """
    steps = torch.linspace(0, len(spikes) - 1, min(columns, len(spikes))).round().long().tolist()
    figure, axes = plt.subplots(1, len(steps), figsize=(1.5 * len(steps), 2), squeeze=False)
    for step, ax in zip(steps, axes[0], strict=True):
        ax.imshow(_colors(spikes[step]).numpy(), interpolation="nearest")
        ax.set_title(f"step {step + 1}", fontsize=8)
        ax.axis("off")
    figure.suptitle(title, fontsize=10)
    return figure


def animation(spikes: Tensor, *, title: str = "", interval: int = 40) -> Any:
    """An event recording as an animation, through ``snntorch.spikeplot.animator``.

    Args:
        spikes: ``[T, C, height, width]``.
        title: Above the picture.
        interval: Milliseconds a frame.

    Returns:
        A matplotlib animation: ``.save("gesture.gif")``.
    """
    figure, ax = plt.subplots(figsize=(4, 4))
    figure.suptitle(title, fontsize=10)
    net = spikes[:, -1] - (spikes[:, 0] if spikes.shape[1] == 2 else 0)  # brighter minus darker
    return spikeplot.animator(net, figure, ax, interval=interval, cmap="coolwarm" if spikes.shape[1] == 2 else "gray")


def filter_bank_and_spikes(energies: Tensor, spikes: Tensor, *, title: str = "") -> Figure:
    """A spoken word's filter bank beside the spikes that the network gets of it.

    Args:
        energies: ``[frames, bands]`` in 0..1.
        spikes: ``[T, 1, bands]`` (a raster of one frame a step), or ``[T, 1, frames, bands]`` (the mean over T).
        title: Above the picture.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2))
    left.imshow(energies.T.numpy(), origin="lower", aspect="auto", cmap="magma")
    left.set(title="log-mel energies", xlabel="frame", ylabel="band")
    if spikes.dim() == 3:
        spikeplot.raster(spikes[:, 0], right, s=6, c="black")
        right.set(title="spikes", xlabel="time step", ylabel="band", xlim=(-0.5, len(spikes) - 0.5))
    else:
        right.imshow(spikes.mean(0)[0].T.numpy(), origin="lower", aspect="auto", cmap="magma", vmin=0, vmax=1)
        right.set(title=f"mean of {len(spikes)} steps of spikes", xlabel="frame", ylabel="band")
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    return figure


def image_and_spikes(image: Tensor, spikes: Tensor, *, title: str = "", steps: Sequence[int] = (0, 1, 2)) -> Figure:
    """An image, the spikes of some steps, and their mean, which is what the network can know of it.

    Args:
        image: ``[C, height, width]`` in 0..1, C = 1 or 3.
        spikes: ``[T, C, height, width]``.
        title: Above the picture.
        steps: The steps to draw.
    """
    pictures = [("image", image), *((f"step {s + 1}", spikes[s]) for s in steps if s < len(spikes))]
    pictures.append((f"mean of {len(spikes)}", spikes.mean(0)))
    figure, axes = plt.subplots(1, len(pictures), figsize=(1.8 * len(pictures), 2.2))
    for (name, picture), ax in zip(pictures, axes, strict=True):
        ax.imshow(picture.movedim(0, -1).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
        ax.set_title(name, fontsize=8)
        ax.axis("off")
    figure.suptitle(title, fontsize=10)
    return figure


def _colors(frame: Tensor) -> Tensor:
    """One frame ``[C, height, width]`` to red, green and blue: white, with blue for darker and red for brighter."""
    bright, dark = frame[-1], frame[0] if len(frame) == 2 else torch.zeros_like(frame[0])
    return torch.stack([1 - dark, (1 - dark) * (1 - bright), 1 - bright], dim=-1)
