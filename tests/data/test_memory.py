"""The delayed match to sample: what tells the class, and what does not."""

from __future__ import annotations

import pytest
import torch

from snntorch_brp.data.memory import CHANNELS, SYMBOLS, delayed_match
from snntorch_brp.tasks.registry import TASKS


def test_the_class_is_whether_cue_and_probe_are_the_same_symbol() -> None:
    x, labels = delayed_match(400, steps=12, shown=3, seed=1).tensors
    assert x.shape == (400, 12, SYMBOLS * CHANNELS)
    counts = x.unflatten(2, (SYMBOLS, CHANNELS)).sum(3)
    cue, probe = counts[:, :3].sum(1).argmax(1), counts[:, -3:].sum(1).argmax(1)
    assert ((cue == probe) == (labels == 1)).float().mean() > 0.99
    assert counts[:, 3:-3].mean() < 0.5  # of ten channels: noise alone
    assert abs(int(labels.sum()) - 200) <= 1


def test_neither_symbol_alone_tells_the_class() -> None:
    x, labels = delayed_match(4000, seed=2).tensors
    counts = x.unflatten(2, (SYMBOLS, CHANNELS)).sum(3)
    for part in (counts[:, :3], counts[:, -3:]):
        shown = part.sum(1).argmax(1)
        for symbol in range(SYMBOLS):  # five standard deviations of 2,000 draws
            assert abs(labels[shown == symbol].float().mean() - 0.5) < 0.06


def test_it_is_drawn_by_its_seed_and_has_room_for_both_symbols() -> None:
    assert torch.equal(delayed_match(5, seed=3).tensors[0], delayed_match(5, seed=3).tensors[0])
    assert not torch.equal(delayed_match(5, seed=3).tensors[0], delayed_match(5, seed=4).tensors[0])
    with pytest.raises(ValueError, match="cue and probe of 4 steps each do not fit into 7 steps"):
        delayed_match(5, steps=7, shown=4)


def test_the_task_delays_for_half_its_steps() -> None:
    task = TASKS["memory"].configured(steps=24, device="cpu", options={})
    sets = task.load(None)
    samples, _ = sets.test[:50]
    assert task.encoder(24, 1.0)(samples).shape == (24, 50, 20)
    assert samples[:, 6:18].mean() < 0.05 < samples[:, :6].mean()
