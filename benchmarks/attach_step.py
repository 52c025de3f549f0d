# %% [markdown]
# # What attaching costs
#
# One training step of the paper's MNIST network (Conv5x5x28-S2-FC1000-FC10), or of one of snnTorch's tutorials (`--net
# tutorial6`), by backpropagation through time with nothing attached, and under each local rule; as it is, and compiled
# by Inductor (`--ways eager compiled`). Every measurement is a fresh process; the contenders take turns, so that a
# change in the machine's load hits them alike. Peak memory is the process's own, less what it held before the first
# step. What is compiled is compiled in the first two steps, which are not timed, and how long they took is told.

# %%
from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tutorials import TUTORIALS

from snntorch_brp import BRP, ErrorProjection, OutputOnly, Propagation, RewardPrediction, attach, reset_state
from snntorch_brp.models import mnist_net

RULES: dict[str, Propagation | None] = {
    "BPTT, nothing attached": None,
    "BRP": BRP(),
    "RewardPrediction": RewardPrediction(),
    "ErrorProjection": ErrorProjection(),
    "OutputOnly": OutputOnly(),
}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


# %%
def network_and_data(net: str, batch: int, steps: int) -> tuple[nn.Sequential, Tensor, Tensor]:
    """A network, input for T steps and labels; a tutorial's own numbers of steps and samples are its own."""
    torch.manual_seed(0)
    if net in TUTORIALS:
        return TUTORIALS[net].network(), *TUTORIALS[net].data()
    return mnist_net(), (torch.rand(steps, batch, 1, 28, 28) < 0.2).float(), torch.arange(batch) % 10


def measure(args: argparse.Namespace) -> dict[str, float]:
    """Median seconds of a training step and peak memory in MiB, in this process."""
    clock = CLOCKS[args.clock]
    net, x, labels = network_and_data(args.net, args.batch, args.steps)
    optimizer = torch.optim.Adam(net.parameters(), 1e-4)
    propagation = RULES[args.measure]
    handle = attach(net, propagation, num_classes=10).register() if propagation is not None else None
    compiled = torch.compile(net) if args.way == "compiled" else net
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for step in range(args.repeats + 2):
        start = clock()
        called = net if step == 0 else compiled  # in the first sequence it is found out who hears whom
        optimizer.zero_grad()
        reset_state(net)
        spikes = torch.stack([called(x_t) for x_t in x])
        loss = F.mse_loss(spikes.mean(0), F.one_hot(labels, 10).float())
        if handle is None:
            loss.backward()
        else:
            handle.backward(loss, labels)
        optimizer.step()
        seconds.append(clock() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"seconds": statistics.median(seconds[2:]), "first": sum(seconds[:2]), "mib": peak / 1024}


# %%
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", default="mnist", choices=["mnist", *TUTORIALS])
    parser.add_argument("--batch", type=int, default=50, help="samples; a tutorial has its own number")
    parser.add_argument("--steps", type=int, default=20, help="time steps; a tutorial has its own number")
    parser.add_argument("--repeats", type=int, default=3, help="steps timed in each process")
    parser.add_argument("--rounds", type=int, default=3, help="processes for each rule")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="cpu counts no time spent waiting")
    parser.add_argument("--rules", nargs="+", default=list(RULES), choices=list(RULES), metavar="RULE")
    parser.add_argument("--ways", nargs="+", default=["eager"], choices=["eager", "compiled"])
    parser.add_argument("--measure", choices=list(RULES), help=argparse.SUPPRESS)
    parser.add_argument("--way", default="eager", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.measure:
        torch.set_num_threads(args.threads)
        print(json.dumps(measure(args)))
        return

    options = [f"--{name}={getattr(args, name)}" for name in ("net", "batch", "steps", "repeats", "threads", "clock")]
    results: dict[tuple[str, str], list[dict[str, float]]] = {(r, way): [] for way in args.ways for r in args.rules}
    for _ in range(args.rounds):
        for rule, way in results:
            command = [sys.executable, __file__, "--measure", rule, "--way", way, *options]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            results[rule, way].append(json.loads(done.stdout.splitlines()[-1]))

    size = "" if args.net in TUTORIALS else f", batch {args.batch}, {args.steps} time steps"
    print(
        f"{args.net}{size}, {args.threads} thread(s), {args.clock} clock, load {os.getloadavg()[0]:.1f}; "
        "median of processes"
    )
    print(f"{'':<34}{'ms a step':>12}{'relative':>12}{'first two, s':>14}{'peak MiB':>12}{'relative':>12}")
    first = None
    for (rule, way), runs in results.items():
        seconds, start, mib = (statistics.median(run[key] for run in runs) for key in ("seconds", "first", "mib"))
        first = first or (seconds, mib)
        told = f"{seconds * 1e3:>12.0f}{seconds / first[0]:>12.2f}{start:>14.1f}{mib:>12.0f}{mib / first[1]:>12.2f}"
        print(f"{f'{rule}, {way}':<34}{told}")


if __name__ == "__main__":
    main()
