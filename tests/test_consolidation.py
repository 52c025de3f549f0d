"""How a layer learns, formula by formula; the whole chain is held to the oracle in test_attach_oracle.py."""

from __future__ import annotations

import pytest
import torch

from snntorch_brp import PseudoGradient, StateDifference
from snntorch_brp.window import Window

T, B, N = 3, 2, 4
SPIKES = (torch.rand(T, B, N, generator=torch.Generator().manual_seed(0)) < 0.5).float()
MEMBRANE = torch.randn(T, B, N, generator=torch.Generator().manual_seed(1))
DELTA = torch.randn(1, B, N, generator=torch.Generator().manual_seed(2))


def test_pseudo_gradient_puts_delta_in_the_place_of_the_spike_gradient() -> None:
    got = PseudoGradient().gradients(DELTA, Window(SPIKES))
    assert torch.equal(got.spikes, DELTA)
    assert got.membrane is got.current is None


@pytest.mark.parametrize("state", ["membrane", "rate"])
def test_state_difference_is_the_gradient_of_its_objective(state: str) -> None:
    """½‖h - δ‖² of eq. 8, differentiated by autograd; the membrane's is summed over the steps."""
    spikes, membrane = SPIKES.clone().requires_grad_(), MEMBRANE.clone().requires_grad_()
    h = membrane if state == "membrane" else spikes.mean(0)
    (0.5 * (h - DELTA).square().sum()).backward()
    got = StateDifference(state).gradients(DELTA, Window(SPIKES, membrane=MEMBRANE))  # type: ignore[arg-type]
    if state == "membrane":
        torch.testing.assert_close(got.membrane, membrane.grad)
        assert got.spikes is None
    else:
        torch.testing.assert_close(got.spikes.expand(T, B, N), spikes.grad)
        assert got.membrane is None


def test_state_must_be_known() -> None:
    with pytest.raises(ValueError, match="state must be 'membrane' or 'rate', got 'spike'"):
        StateDifference("spike")  # type: ignore[arg-type]


def test_window_takes_steps_or_tensors_and_names_what_it_did_not_keep() -> None:
    lists, tensor = Window(list(SPIKES), membrane=list(MEMBRANE)), Window(SPIKES, membrane=MEMBRANE)
    torch.testing.assert_close(lists.rate, SPIKES.mean(0))
    torch.testing.assert_close(tensor.rate, SPIKES.mean(0))
    assert torch.equal(lists.spikes, tensor.spikes)
    assert torch.equal(lists.membrane, tensor.membrane)
    assert lists.steps == tensor.steps == T
    assert Window(SPIKES, rate=torch.ones(B, N)).rate.mean() == 1
    with pytest.raises(
        AttributeError, match=r"kept no current: add it to the rule, `keeps = frozenset\(\{'current'\}\)`"
    ):
        _ = tensor.current
