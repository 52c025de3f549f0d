"""The study of single settings: what it changes, that it keeps away from the test set, and what it leaves out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from snntorch_brp import BRP, attach, unroll
from snntorch_brp.models import mlp
from snntorch_brp.paper import settings
from snntorch_brp.paper.budgets import Budget
from snntorch_brp.paper.datasets import MNIST
from snntorch_brp.paper.lab import Lab, NotFinishedError
from snntorch_brp.tasks.base import TrainTest
from snntorch_brp.tasks.protocol import Override
from snntorch_brp.tasks.registry import TASKS

TINY = Budget(name="quick", about="seconds", epochs=1, train=30, test=20, seeds=2, checkpoints=False)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A budget of seconds on digits whose test set cannot be read."""
    digits = TASKS["digits"]

    def load(root: Path | None) -> TrainTest:
        return digits.load(root)._replace(test=_Unreadable())

    small = {"quick": Override(network="Conv3x3x2-S2-FC12-FC10", steps=4)}
    monkeypatch.setitem(TASKS, "digits", replace(digits, load=load, budgets=small))
    return Lab(tmp_path, budget=TINY)


class _Unreadable(torch.utils.data.Dataset):
    """A test set that nobody may look at."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, place: int) -> Any:
        raise AssertionError("the test set was read")


def test_one_setting_is_changed_at_a_time_and_the_test_set_is_never_read(lab: Lab) -> None:
    (dataset,) = lab.datasets(MNIST)
    base = lab.plan(dataset, "brp", 0).config
    tried = settings.changes(base)
    for changed in tried.values():
        assert len(changed) <= 1
        assert all(getattr(base, name) != value for name, value in changed.items())
        replace(base, **changed).check()
    assert "learning rate 0.0001" not in tried  # which is the budget's own

    result = settings.reproduce(lab)
    ours = {(row["rule"], row["change"]): row for row in result.rows}
    assert {change for rule, change in ours if rule == "TP_BRP"} == set(tried)
    assert ("OutputOnly", "as it is") in ours
    assert ("OutputOnly", "reset without gradient") not in ours
    for row in result.rows:
        assert row["seeds"] == 2
        assert row["split"].endswith("held out to judge by; 21 train, 9 test, limited by the budget")
    assert ours["TP_BRP", "learning rate 0.001"]["lr"] == "0.001 constant"


def test_what_is_finished_is_shown_and_nothing_is_trained(lab: Lab) -> None:
    (dataset,) = lab.datasets(MNIST)
    held_out = {"validation": settings.HELD_OUT}
    lab.train(dataset, "brp", 1, changes=held_out)
    lab.train(dataset, "brp", 1, changes={**held_out, "schedule": "cosine"})
    lab.train(dataset, "brp", 0, changes={**held_out, "schedule": "cosine"})
    before = set((lab.out / "runs").iterdir())
    result = settings.reproduce(Lab(lab.out, budget=TINY, finished=True))
    assert {row["change"]: row["seeds"] for row in result.rows} == {"as it is": 1, "schedule cosine": 2}
    assert set((lab.out / "runs").iterdir()) == before
    with pytest.raises(NotFinishedError, match="no finished training"):
        settings.reproduce(Lab(lab.out / "empty", budget=TINY, finished=True))


@pytest.mark.parametrize("factor", [50.0, 0.125])
def test_adam_divides_out_what_multiplies_a_hidden_gradient(factor: float) -> None:
    """A sum over the batch of 50, or feedback from other bounds, moves hidden weights as the mean and Kaiming's do."""

    def weights(*, reduction: Literal["mean", "sum"] = "mean", feedback: float = 1.0) -> list[Tensor]:
        torch.manual_seed(0)
        net = mlp([8, 12, 4]).double()
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, eps=1e-20)
        label = torch.arange(50) % 4
        with attach(net, BRP(), num_classes=4, reduction=reduction) as brp:
            brp.feedback.set_matrix("fc1_lif", feedback * brp.feedback.matrix("fc1_lif", (12,)))
            for x in (torch.rand(6, 5, 50, 8) < 0.5).double():
                loss = F.mse_loss(unroll(net, x).mean(0), F.one_hot(label, 4).double())
                optimizer.zero_grad()
                brp.backward(loss, label)
                optimizer.step()
        return [weight.detach() for weight in net.parameters()]

    usual = weights()
    other = weights(feedback=factor) if factor < 1 else weights(reduction="sum")
    for one, two in zip(usual, other, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-9, atol=0)
