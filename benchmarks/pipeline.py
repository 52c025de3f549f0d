"""Samples a second on two processes: layers as a forward-only pipeline, against data parallel, against one process.

    OMP_NUM_THREADS=1 python benchmarks/pipeline.py --processes 2 --steps 100 --rounds 5

Each process has one thread. The three ways take turns, round by round, and medians are given: other load on the
machine hits all of them. All three learn the same weights.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import time
from functools import partial

import torch
import torch.multiprocessing as mp

from snntorch_brp import BRPTrainer, RewardPrediction
from snntorch_brp.models import mlp
from snntorch_brp.runtime import distributed
from snntorch_brp.training import rate_mse
from snntorch_brp.training.pipeline import Pipeline


def work(rank: int, args: argparse.Namespace, port: int, way: str, results: mp.Queue) -> None:
    """One process of one measurement."""
    torch.set_num_threads(1)
    world_size = 1 if way == "one process" else args.processes
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world_size)}
    torch.manual_seed(0)
    net = mlp([784, *[args.width] * args.hidden, 10])
    adam = partial(torch.optim.Adam, lr=1e-3)
    x = (torch.rand(args.time, args.batch, 784) < 0.3).float()
    labels = torch.randint(10, (args.batch,))
    with distributed.process_group("cpu"):
        if way == "pipeline":
            pipeline = Pipeline(net, num_classes=10, optimizer=adam, loss=rate_mse, propagation=RewardPrediction())
            train = lambda steps: list(pipeline.train([(x, labels)] * steps))  # noqa: E731
        else:
            mine = slice(rank * args.batch // world_size, (rank + 1) * args.batch // world_size)
            optimizer = adam(net.parameters())
            trainer = BRPTrainer(net, num_classes=10, propagation=RewardPrediction(), optimizer=optimizer)
            train = lambda steps: [trainer.step(x[:, mine], labels[mine]) for _ in range(steps)]  # noqa: E731
        train(5)
        start = time.perf_counter()
        train(args.steps)
        if rank == world_size - 1:  # in a pipeline, the last one to end
            results.put(args.steps * args.batch / (time.perf_counter() - start))


def measure(args: argparse.Namespace, way: str) -> float:
    """Samples a second."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    results = mp.get_context("spawn").Queue()
    mp.spawn(work, (args, port, way, results), nprocs=1 if way == "one process" else args.processes)
    return float(results.get())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=3, help="hidden layers")
    parser.add_argument("--width", type=int, default=800, help="neurons in each")
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--time", type=int, default=20, help="time steps T")
    parser.add_argument("--steps", type=int, default=100, help="training steps of a measurement")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    ways = ("one process", "data parallel", "pipeline")
    seen: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(args.rounds):
        for way in ways:
            seen[way].append(measure(args, way))
    network = "-".join(map(str, [784, *[args.width] * args.hidden, 10]))
    print(
        f"{network}, T = {args.time}, batch {args.batch}, {args.processes} processes of 1 thread, {args.rounds} rounds"
    )
    alone = statistics.median(seen[ways[0]])
    for way, rates in seen.items():
        median = statistics.median(rates)
        print(f"{way:<15}{median:>8.0f} samples/s   x{median / alone:.2f}   ({min(rates):.0f}-{max(rates):.0f})")


if __name__ == "__main__":
    main()
