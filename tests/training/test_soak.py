"""Two thousand steps in memory that does not grow; mixed precision, clipping, decay and schedules."""

from __future__ import annotations

import copy
import gc
import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from networks import K, batch, mlp, spread

from snntorch_brp import BRP, Backprop, BRPTrainer, ErrorProjection, RewardPrediction
from snntorch_brp.training.callbacks import Callback
from snntorch_brp.training.results import StepResult

ENGINES = pytest.mark.parametrize("engine", ["attach", "fused"])


class Memory(Callback):
    """Resident memory of this process in MB, every hundred steps."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_step_end(self, trainer: BRPTrainer, result: StepResult) -> None:
        if trainer.progress.step % 100 == 0:
            gc.collect()
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.seen.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the resident memory from Linux's /proc")
@ENGINES
def test_memory_is_flat_over_two_thousand_steps(engine: str) -> None:
    data, memory = [batch(seed=i, size=16) for i in range(100)], Memory()
    trainer = BRPTrainer(spread(mlp(hidden=(30, 30))), num_classes=K, propagation=BRP(), engine=engine)  # type: ignore[arg-type]
    trainer.fit(data, epochs=20, validation=data[:2], callbacks=[memory], progress=False)
    assert len(memory.seen) == 20
    assert max(memory.seen[1:]) <= 1.01 * memory.seen[0], memory.seen


@ENGINES
@pytest.mark.parametrize("rule", [BRP(), RewardPrediction(), ErrorProjection(), Backprop()])
def test_bfloat16_stays_close_to_float32(engine: str, rule: object) -> None:
    """Gradients in bfloat16 (8 bits of mantissa) point where those in float32 do.

    Half a percent of rounding in the currents moves some membranes over the threshold of spike and surrogate, so a
    cosine of 0.9 and not of 0.999 is asked for.
    """
    x, labels = batch(steps=10, size=64)
    exact = spread(mlp(hidden=(60, 50)))
    found = []
    for precision in ("float32", "bfloat16"):
        net = copy.deepcopy(exact)
        trainer = BRPTrainer(
            net, num_classes=K, propagation=rule, engine=engine, precision=precision,  # type: ignore[arg-type]
            optimizer=torch.optim.SGD(net.parameters(), lr=0.0), generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        trainer.step(x, labels)
        assert all(p.dtype is torch.float32 and p.grad.dtype is torch.float32 for p in net.parameters())
        found.append(torch.cat([p.grad.flatten() for p in net.parameters()]))
    assert F.cosine_similarity(*found, dim=0) > 0.9


def test_the_norm_of_the_gradient_is_clipped() -> None:
    net = spread(mlp())
    weights = [p.detach().clone() for p in net.parameters()]
    trainer = BRPTrainer(net, num_classes=K, clip_norm=1e-3, optimizer=torch.optim.SGD(net.parameters(), lr=1.0))
    trainer.step(*batch())
    changes = [before - p.detach() for before, p in zip(weights, net.parameters(), strict=True)]
    moved = sum(float(change.norm() ** 2) for change in changes) ** 0.5
    assert moved == pytest.approx(1e-3, rel=1e-2)  # float32: weights of 0.1 to 1 take up changes of 1e-4 to 1e-7
    with pytest.raises(ValueError, match="clip_norm"):
        BRPTrainer(net, num_classes=K, clip_norm=0.0)
