# %% [markdown]
# # What attaching costs
#
# One training step of the paper's MNIST network (Conv5x5x28-S2-FC1000-FC10), by backpropagation through time with
# nothing attached, and under each local rule. Every measurement is a fresh process; the rules take turns, so that a
# change in the machine's load hits them alike. Peak memory is the process's own, less what it held before the
# first step.

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

from snntorch_brp import BRP, ErrorProjection, OutputOnly, Propagation, RewardPrediction, attach, reset_state
from snntorch_brp.models import mnist_net

RULES: dict[str, Propagation | None] = {
    "BPTT, nothing attached": None,
    "BRP": BRP(),
    "RewardPrediction": RewardPrediction(),
    "ErrorProjection": ErrorProjection(),
    "OutputOnly": OutputOnly(),
}


# %%
def measure(rule: str, *, batch: int, steps: int, repeats: int) -> dict[str, float]:
    """Median seconds of a training step and peak memory in MiB, in this process."""
    torch.manual_seed(0)
    net = mnist_net()
    optimizer = torch.optim.Adam(net.parameters(), 1e-4)
    x, labels = (torch.rand(steps, batch, 1, 28, 28) < 0.2).float(), torch.arange(batch) % 10
    propagation = RULES[rule]
    handle = attach(net, propagation, num_classes=10).register() if propagation is not None else None
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        optimizer.zero_grad()
        reset_state(net)
        spikes = torch.stack([net(x_t) for x_t in x])
        loss = F.mse_loss(spikes.mean(0), F.one_hot(labels, 10).float())
        if handle is None:
            loss.backward()
        else:
            handle.backward(loss, labels)
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"seconds": statistics.median(seconds[1:]), "mib": peak / 1024}  # the first step warms up


# %%
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3, help="steps timed in each process")
    parser.add_argument("--rounds", type=int, default=3, help="processes for each rule")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rules", nargs="+", default=list(RULES), choices=list(RULES), metavar="RULE")
    parser.add_argument("--measure", choices=list(RULES), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.measure:
        torch.set_num_threads(args.threads)
        print(json.dumps(measure(args.measure, batch=args.batch, steps=args.steps, repeats=args.repeats)))
        return

    sizes = [f"--{name}={getattr(args, name)}" for name in ("batch", "steps", "repeats", "threads")]
    results: dict[str, list[dict[str, float]]] = {rule: [] for rule in args.rules}
    for _ in range(args.rounds):
        for rule in args.rules:
            command = [sys.executable, __file__, "--measure", rule, *sizes]
            results[rule].append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))

    load = os.getloadavg()[0]
    print(
        f"batch {args.batch}, {args.steps} time steps, {args.threads} thread(s), load {load:.1f}; median of processes"
    )
    print(f"{'rule':<24}{'ms a step':>12}{'relative':>12}{'peak MiB':>12}{'relative':>12}")
    first = None
    for rule, runs in results.items():
        seconds, mib = (statistics.median(run[key] for run in runs) for key in ("seconds", "mib"))
        first = first or (seconds, mib)
        print(f"{rule:<24}{seconds * 1e3:>12.0f}{seconds / first[0]:>12.2f}{mib:>12.0f}{mib / first[1]:>12.2f}")


if __name__ == "__main__":
    main()
