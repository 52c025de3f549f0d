"""Memory that the fast path uses again: never while anybody can still see it."""

from __future__ import annotations

import torch

from snntorch_brp.fused import FusedEngine, buffers
from snntorch_brp.fused.buffers import SMALL, recycled
from snntorch_brp.models import mlp
from snntorch_brp.propagation import BRP
from snntorch_brp.training import rate_mse

BYTES = torch.empty(0, dtype=torch.uint8)


def test_memory_is_used_again_once_no_view_of_it_is_left():
    x = recycled((2, SMALL), like=BYTES)
    where, view = x.data_ptr(), x[1:]
    del x
    other = recycled((SMALL, 2), like=BYTES)
    assert other.data_ptr() != where
    del view
    again = recycled((SMALL // 2,), like=BYTES, dtype=torch.float32)
    assert again.data_ptr() == where
    assert where % 64 == 0  # as PyTorch's own
    assert again.is_contiguous()


def test_there_is_never_more_memory_than_was_in_use_at_once(monkeypatch):
    monkeypatch.setattr(buffers, "_free", {})
    monkeypatch.setattr(buffers, "_lent", {"now": 0, "at most": 0})
    for size in (SMALL, 2 * SMALL, 3 * SMALL):
        x = recycled((size,), like=BYTES)
        del x
    assert list(buffers._free) == [3 * SMALL]
    x, other = (recycled((size,), like=BYTES) for size in (SMALL, 3 * SMALL))  # a larger block will do
    assert buffers._lent == {"now": 6 * SMALL, "at most": 6 * SMALL}
    del x, other
    recycled((4 * SMALL,), like=BYTES)
    assert [size for size, blocks in buffers._free.items() if blocks] == [4 * SMALL]


def test_a_gradient_that_somebody_keeps_stays_as_it_is():
    torch.manual_seed(0)
    net = mlp([600, 600, 10])  # the first gradient is large enough to be recycled
    engine = FusedEngine(net, BRP(), num_classes=10, loss_fn=rate_mse)
    labels = torch.arange(4)
    engine.step((torch.rand(5, 4, 600) < 0.5).float(), labels)
    kept = net.fc1.weight.grad.view(-1)
    value = kept.clone()
    net.zero_grad()
    engine.step((torch.rand(5, 4, 600) < 0.5).float(), labels)
    assert torch.equal(kept, value)
    assert not torch.equal(net.fc1.weight.grad.view(-1), value)
