"""Bad batches of every kind: a clear error, and everything is left as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import K, mlp
from torch import Tensor

from snntorch_brp import BRPTrainer, RateEncoder

B, N, T = 4, 6, 5
DTYPES = [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.complex64]


@st.composite
def bad_x(draw: st.DrawFn, encoded: bool) -> object:
    """Samples that do not fit, for an encoder ``[B, N]`` or as spikes ``[T, B, N]``."""
    good = torch.rand(B, N) if not encoded else (torch.rand(T, B, N) < 0.5).float()
    kind = draw(st.sampled_from(["shape", "dtype", "value", "device", "thing"]))
    if kind == "shape":
        shape = draw(st.lists(st.integers(0, 7), max_size=5).filter(lambda shape: tuple(shape) != good.shape))
        if encoded and len(shape) == 3 and shape[1:] == [B, N] and shape[0]:
            shape[2] = N + 1  # another number of steps is no mistake
        return torch.rand(shape)
    if kind == "dtype":
        return good.to(draw(st.sampled_from(DTYPES)))
    if kind == "value":
        place = draw(st.integers(0, good.numel() - 1))
        good.view(-1)[place] = draw(st.sampled_from([float("nan"), float("inf"), -float("inf")]))
        return good
    if kind == "device":
        return good.to("meta")
    return draw(st.sampled_from([None, 3, "x", good.numpy(), good.tolist(), good.to_sparse(), np.zeros(0)]))


@st.composite
def bad_labels(draw: st.DrawFn) -> object:
    """Labels that are none."""
    good = torch.arange(B) % K
    kind = draw(st.sampled_from(["shape", "dtype", "value", "device", "thing"]))
    if kind == "shape":
        shape = draw(st.lists(st.integers(0, 6), max_size=3).filter(lambda shape: tuple(shape) != (B,)))
        return torch.zeros(shape, dtype=torch.long)
    if kind == "dtype":
        return good.to(draw(st.sampled_from([torch.float32, torch.bool, torch.complex64, torch.bfloat16])))
    if kind == "value":
        good[draw(st.integers(0, B - 1))] = draw(st.one_of(st.integers(-(2**40), -1), st.integers(K, 2**40)))
        return good
    if kind == "device":
        return good.to("meta")
    return draw(st.sampled_from([None, 1, "labels", good.tolist(), good.numpy()]))


def everything(trainer: BRPTrainer) -> dict[str, Tensor]:
    """All that a refused batch must leave alone."""
    optimizer = {
        f"optimizer {key} {name}": value
        for key, state in trainer.optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }
    found = {**trainer.net.state_dict(), **optimizer, "random": torch.get_rng_state()}
    return {key: value.clone() for key, value in found.items()}


@pytest.fixture(scope="module", params=["attach", "fused"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("encoded", [False, True], ids=["for an encoder", "spikes"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.data())
def test_a_bad_batch_is_told_and_leaves_everything_as_it_was(engine: str, encoded: bool, drawn: st.DataObject) -> None:
    torch.manual_seed(0)
    trainer = BRPTrainer(
        mlp(),
        num_classes=K,
        encoder=None if encoded else RateEncoder(T),
        engine=engine,  # type: ignore[arg-type]
    )
    good = (torch.rand(T, B, N) < 0.5).float() if encoded else torch.rand(B, N)
    trainer.step(good, torch.arange(B) % K)
    x, labels = good, torch.arange(B) % K
    which = drawn.draw(st.sampled_from(["x", "labels", "both"]))
    if which != "labels":
        x = drawn.draw(bad_x(encoded))
    if which != "x":
        labels = drawn.draw(bad_labels())
    before = everything(trainer)
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - its message is looked at below
        trainer.step(x, labels)  # type: ignore[arg-type]
    assert len(str(raised.value)) > 20
    assert any(word in str(raised.value) for word in ("got", "fit", "holds", "empty", "must"))
    after = everything(trainer)
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert before.keys() == after.keys()
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in trainer.net.modules())
    assert trainer.step(good, torch.arange(B) % K).count == B  # and it goes on
