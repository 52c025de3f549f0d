"""The boxcar against eq. 10."""

from __future__ import annotations

import pickle

import pytest
import snntorch as snn
import torch

from snntorch_brp import boxcar


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("half_width", [0.25, 0.5, 1.0])
def test_step_forward_box_backward_in_the_dtype_of_the_input(dtype: torch.dtype, half_width: float) -> None:
    u = torch.arange(-12, 13, dtype=dtype).div(8).requires_grad_()  # multiples of 1/8: exact in every dtype
    spikes = boxcar(half_width)(u)
    assert spikes.dtype is dtype
    assert spikes.tolist() == [float(x > 0) for x in u.tolist()]
    spikes.backward(torch.full_like(spikes, 3))
    assert u.grad.dtype is dtype
    assert u.grad.tolist() == [3.0 * (abs(x) < half_width) for x in u.tolist()]


def test_both_edges_are_open_and_threshold_is_strict() -> None:
    u = torch.tensor([-0.5, 0.0, 0.5], requires_grad=True)
    spikes = boxcar()(u)
    spikes.sum().backward()
    assert spikes.tolist() == [0, 0, 1]
    assert u.grad.tolist() == [0, 1, 0]


def test_any_snntorch_neuron_takes_it_and_it_can_be_compared_and_pickled() -> None:
    lif = snn.Leaky(beta=0.5, spike_grad=boxcar(0.3)).double()
    spk, _ = lif(torch.ones(2, 3, dtype=torch.float64), lif.reset_mem())
    assert spk.dtype is torch.float64
    assert boxcar(0.3) == boxcar(0.3) != boxcar(0.4)
    assert pickle.loads(pickle.dumps(boxcar(0.3))) == boxcar(0.3)


@pytest.mark.parametrize("half_width", [0, -1, float("nan")])
def test_half_width_must_be_positive(half_width: float) -> None:
    with pytest.raises(ValueError, match="half_width must be positive"):
        boxcar(half_width)
