"""Figures say what they show: axes, labels, and each neuron's own membrane and spikes."""

from __future__ import annotations

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch

from snntorch_brp.activity import Activity
from snntorch_brp.plots import learning_curve, membrane_traces, spike_raster

matplotlib.use("agg")
T, N = 6, 5


def activity(dtype: torch.dtype) -> Activity:
    membrane = torch.randn(T, 2, N, generator=torch.Generator().manual_seed(0)).to(dtype)
    return Activity(spikes=(membrane > 0.5).to(dtype), membrane=membrane)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])  # numpy knows no bfloat16
def test_membranes_are_drawn_as_they_are_with_axes_and_spikes(dtype: torch.dtype) -> None:
    seen = activity(dtype)
    figure = membrane_traces(seen, threshold=0.5, sample=1, neurons=N, title="fc1")
    assert figure.get_supxlabel() == "time step"
    assert figure.get_supylabel() == "membrane potential"
    assert "threshold, 0.5" in figure.get_suptitle()
    panels = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title() for ax in panels] == [f"neuron {i}" for i in range(N)]
    for neuron, ax in enumerate(panels):
        line, fired, threshold = ax.get_lines()
        assert line.get_ydata().tolist() == seen.membrane[:, 1, neuron].tolist()
        assert fired.get_xdata().tolist() == seen.spikes[:, 1, neuron].nonzero().flatten().tolist()
        assert (fired.get_ydata() > threshold.get_ydata()[0]).all()
    plt.close(figure)


def test_rasters_take_spikes_of_any_precision() -> None:
    figures = [spike_raster({"fc1": activity(dtype)}) for dtype in (torch.float32, torch.bfloat16)]
    expected, got = (figure.axes[0].collections[0].get_offsets().tolist() for figure in figures)
    assert expected == got
    assert expected
    plt.close("all")


def test_the_second_curve_is_called_what_it_is() -> None:
    rows = [{"epoch": 1, "loss": 0.1, "accuracy": 0.8, "validation_loss": 0.2, "validation_accuracy": 0.7}]
    figure = learning_curve(rows)
    assert [text.get_text() for text in figure.axes[1].get_legend().get_texts()] == ["training", "validation"]
    plt.close(figure)
