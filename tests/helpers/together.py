"""Runs of several processes on gloo: forked by :func:`main` from one that has imported everything, or by torchrun."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch.utils.data import TensorDataset

from snntorch_brp import BRP, BRPTrainer, ErrorProjection, RateEncoder
from snntorch_brp.data.loader import batches
from snntorch_brp.models import mlp
from snntorch_brp.runtime import distributed
from snntorch_brp.training import rate_mse
from snntorch_brp.training.callbacks import Callback, MetricsFile
from snntorch_brp.training.checkpoint import Checkpoints
from snntorch_brp.training.pipeline import Pipeline
from snntorch_brp.training.results import StepResult

STEPS = 6  # an epoch


def data(count: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(count)
    return TensorDataset(torch.rand(count, 12, generator=generator), torch.randint(3, (count,), generator=generator))


class Die(Callback):
    """Ends one process at a step, as if its machine had failed; not when it is started anew."""

    def __init__(self, rank: int, step: int) -> None:
        self.rank, self.step = rank, step

    def on_step_end(self, trainer: object, result: StepResult) -> None:
        if (distributed.rank(), trainer.progress.step) == (self.rank, self.step):  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGKILL)


CPU = torch.device("cpu")


def train(folder: Path, engine: str, rule: str = "brp", die: Die | None = None, device: torch.device = CPU) -> None:
    """Three epochs of 36 samples in batches of 7: the last batch has a single one, for one process alone."""
    folder.mkdir(parents=True, exist_ok=True)
    with distributed.process_group("cpu"):
        rank, world_size = distributed.rank(), distributed.world_size()
        torch.manual_seed(100 * rank)  # processes start from what the first has, whatever they drew themselves
        net = mlp([12, 16, 10, 3]).to(device)
        trainer = BRPTrainer(
            net,
            num_classes=3,
            propagation=BRP() if rule == "brp" else ErrorProjection(),
            optimizer=torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9),
            clip_norm=0.1,
            encoder=RateEncoder(steps=4),
            engine=engine,  # type: ignore[arg-type]
        )
        order = torch.Generator().manual_seed(5)
        load = {"rank": rank, "world_size": world_size}
        checkpoints = Checkpoints(folder / "checkpoints", every=1)
        checkpoints.resume(trainer)
        writers = [MetricsFile(folder / "metrics.jsonl"), checkpoints] if rank == 0 else []
        trainer.fit(
            batches(data(36), 7, shuffle=True, generator=order, **load),  # type: ignore[arg-type]
            epochs=3,
            validation=batches(data(20), 8, **load),  # type: ignore[arg-type]
            callbacks=[*writers, *([] if die is None else [die])],
            progress=False,
        )
        state = {"net": net.state_dict(), "feedback": trainer.attached.feedback.state_dict()}
        torch.save(state, folder / f"rank{rank}.pt")


def pipelined(folder: Path, device: torch.device = CPU) -> None:
    """The same run as a pipeline, or, alone, under the trainer; with four layers."""
    folder.mkdir(parents=True, exist_ok=True)
    with distributed.process_group("cpu"):
        torch.manual_seed(3)
        net = mlp([12, 16, 10, 8, 3]).to(device)
        optimizer = partial(torch.optim.Adam, lr=0.01)
        order = torch.Generator().manual_seed(5)
        loader, losses = batches(data(36), 7, shuffle=True, generator=order), []
        feedback = torch.Generator().manual_seed(7)
        options = {"num_classes": 3, "encoder": RateEncoder(steps=4), "generator": feedback}
        if distributed.world_size() == 1:
            trainer = BRPTrainer(net, optimizer=optimizer(net.parameters()), engine="fused", **options)  # type: ignore[arg-type]
            losses = [trainer.step(x, labels).loss for _ in range(3) for x, labels in loader]
        else:
            pipeline = Pipeline(net, optimizer=optimizer, loss=rate_mse, **options)  # type: ignore[arg-type]
            losses = [step.loss for _ in range(3) for step in pipeline.train(loader)]
            pipeline.gather()
        if losses:
            torch.save({"net": net.state_dict(), "losses": losses}, folder / "rank0.pt")


def forked(count: int, run: Callable[[], None]) -> tuple[list[int], float]:
    """Run something in ``count`` processes that know each other; their exit codes, and how long it took."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start, children = time.perf_counter(), []
    for rank in range(count):
        child = os.fork()
        if child == 0:
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count)}
            code = 1
            try:
                run()
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return codes, time.perf_counter() - start


def main(folder: Path) -> None:
    """All runs that the tests look at."""
    torch.set_num_threads(1)
    train(folder / "warm-up", "fused")
    for engine in ("attach", "fused"):
        train(folder / engine / "1", engine)
        for count in (2, 3):
            codes, _ = forked(count, lambda count=count, engine=engine: train(folder / engine / str(count), engine))
            assert codes == [0] * count, codes
    train(folder / "error" / "1", "auto", "error")
    forked(2, lambda: train(folder / "error" / "2", "auto", "error"))
    pipelined(folder / "pipeline" / "1")
    for count in (2, 3):
        codes, _ = forked(count, lambda count=count: pipelined(folder / "pipeline" / str(count)))
        assert codes == [0] * count, codes
    dead = folder / "dead"
    codes, seconds = forked(2, lambda: train(dead, "fused", die=Die(1, 8)))
    (folder / "dead.txt").write_text(f"{codes[0]} {codes[1]} {seconds:.0f}")
    codes, _ = forked(2, lambda: train(dead, "fused"))
    assert codes == [0, 0], codes


if __name__ == "__main__":
    if distributed.launched():
        train(Path(sys.argv[1]), "fused", die=None if distributed.restarted() else Die(1, 8))
    else:
        main(Path(sys.argv[1]))
