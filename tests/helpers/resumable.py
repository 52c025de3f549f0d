"""A small run with everything that is random in it; run as a script, it kills itself again and again."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from snntorch_brp import BRP, BRPTrainer, RateEncoder, RefractoryLeaky
from snntorch_brp.data.loader import batches
from snntorch_brp.training.callbacks import Callback, MetricsFile
from snntorch_brp.training.checkpoint import Checkpoints


class Noisy(Dataset):
    """Patterns of 12 pixels, blurred anew by all three kinds of random numbers whenever a sample is read."""

    def __init__(self, count: int) -> None:
        generator = torch.Generator().manual_seed(count)
        self.labels = torch.randint(3, (count,), generator=generator)
        self.patterns = torch.rand(3, 12, generator=torch.Generator().manual_seed(9))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        noise = torch.rand(12) + random.random() + np.random.random()  # noqa: NPY002 - as users' transforms do
        return 0.7 * self.patterns[self.labels[index]] + 0.1 * noise, self.labels[index]


def trainer_of(seed: int = 0, engine: str = "auto") -> BRPTrainer:
    """A network with dropout and normalisation, a schedule, Bernoulli labels from a generator of their own."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    net = nn.Sequential(
        nn.Linear(12, 16), nn.BatchNorm1d(16), RefractoryLeaky(init_hidden=True), nn.Dropout(0.1),
        nn.Linear(16, 10), RefractoryLeaky(init_hidden=True, learn_beta=True), nn.Linear(10, 3),
        RefractoryLeaky(init_hidden=True),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3, weight_decay=1e-3)
    return BRPTrainer(
        net,
        num_classes=3,
        propagation=BRP(label_rate=0.8, generator=torch.Generator().manual_seed(seed)),
        optimizer=optimizer,
        scheduler=torch.optim.lr_scheduler.MultiStepLR(optimizer, [20, 60]),
        clip_norm=1.0,
        encoder=RateEncoder(steps=4),
        engine=engine,  # type: ignore[arg-type]
    )


def train(
    folder: Path, *, epochs: int = 3, every: int | None = 1, workers: int = 0, callbacks: tuple[Callback, ...] = ()
) -> BRPTrainer:
    """Run to the end, from the newest checkpoint if there is one; weights go to ``final.pt``."""
    folder.mkdir(parents=True, exist_ok=True)
    trainer = trainer_of()
    checkpoints = Checkpoints(folder / "checkpoints", every=every, keep=2)
    checkpoints.resume(trainer)
    trainer.fit(
        batches(Noisy(40), 7, shuffle=True, workers=workers),
        epochs=epochs,
        validation=batches(Noisy(20), 8),
        callbacks=[MetricsFile(folder / "metrics.jsonl"), checkpoints, *callbacks],
        progress=False,
    )
    torch.save(trainer.net.state_dict(), folder / "final.pt")
    return trainer


def in_child(folder: Path, epochs: int) -> int:
    """Start :func:`train` in a process of its own; its number."""
    process = os.fork()
    if process == 0:
        train(folder, epochs=epochs)
        os._exit(0)
    return process


def same(one: Path, other: Path) -> bool:
    """Whether two runs ended alike, bit for bit."""
    first, second = (torch.load(folder / "final.pt", weights_only=True) for folder in (one, other))
    metrics = [(folder / "metrics.jsonl").read_bytes() for folder in (one, other)]
    return metrics[0] == metrics[1] and all(torch.equal(first[key], second[key]) for key in first)


def main(folder: Path, kills: int, epochs: int) -> None:
    """Kill runs at random moments, ``kills`` times in all; resume each until it ends; compare with one never killed."""
    torch.set_num_threads(1)
    trainer_of().evaluate(batches(Noisy(8), 8))  # what is imported and built here, a child need not
    start = time.perf_counter()
    os.waitpid(in_child(folder / "never", epochs), 0)
    whole = time.perf_counter() - start
    killed, steps, equal, draw, number = 0, [], [], random.Random(0), 0
    while killed < kills:
        number += 1
        while not (folder / str(number) / "final.pt").exists():
            process = in_child(folder / str(number), epochs)
            if killed < kills:
                time.sleep(draw.uniform(0, whole / 4))
                os.kill(process, signal.SIGKILL)
            _, status = os.waitpid(process, 0)
            if os.WIFSIGNALED(status):
                killed += 1
                steps.append(max([0, *(int(p.stem[5:]) for p in folder.glob(f"{number}/checkpoints/step-*.ckpt"))]))
        equal.append(same(folder / "never", folder / str(number)))
    sys.stdout.write(json.dumps({"killed": killed, "equal": equal, "steps": steps}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
