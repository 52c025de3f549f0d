"""Seconds until a network is good enough, from reading the files on: ours beside snnTorch's BPTT.

    python benchmarks/time_to_accuracy.py --task mnist --data DIR      until 97 % on MNIST
    python benchmarks/time_to_accuracy.py --task cifar10 --data DIR    until 60 % on CIFAR-10
    python benchmarks/time_to_accuracy.py --task digits                until 90 % on scikit-learn's digits: seconds

All contenders train the same network from the same weights on the same batches with the same optimizer and loss, each
in a fresh process, one after the other: a label-only rule and pseudo-BP by ``BRPTrainer``, and snnTorch's own neurons
in a loop over time with ``loss.backward()``. Accuracy is that of a part of the training data that is held back; the
test set is not read. The clock runs while data are read, encoded and learned from, and stands while accuracy is
measured. A last table says where the time of some steps went (cProfile, in a training of its own).
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import snntorch as snn
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset, random_split

from snntorch_brp import BRPTrainer, RateEncoder
from snntorch_brp.data.cifar import load_cifar10
from snntorch_brp.data.images import load_digits, load_mnist
from snntorch_brp.data.loader import batches
from snntorch_brp.models import network
from snntorch_brp.propagation import Backprop, RewardPrediction
from snntorch_brp.sequence import unroll
from snntorch_brp.surrogate import boxcar
from snntorch_brp.training import rate_mse

RULES = {"label alone (RewardPrediction)": RewardPrediction, "pseudo-BP": Backprop}
BPTT = "snnTorch BPTT"
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
Contender = tuple[nn.Module, Callable[[Tensor, Tensor], object], Callable[..., float]]  # network, step, accuracy


@dataclass(frozen=True)
class Goal:
    """What is to be reached, and by which network.

    Attributes:
        load: Reads the data from a folder.
        accuracy: What ends the race.
        network: In the notation of :func:`snntorch_brp.models.network`.
        steps: Time steps T.
        batch: Samples in a batch.
        lr: Adam's learning rate.
        held_back: Samples that are not trained on.
        every: Training steps between two looks at the accuracy.
        most: Training steps after which it is given up.
    """

    load: Callable[..., TensorDataset]
    accuracy: float
    network: str
    steps: int = 10
    batch: int = 50
    lr: float = 1e-3
    held_back: int = 5000
    every: int = 100
    most: int = 12_000


GOALS = {
    "mnist": Goal(load_mnist, 0.97, "784-1000-10"),
    "cifar10": Goal(load_cifar10, 0.60, "Conv5x5x32-S2-FC1000-FC10"),
    "digits": Goal(lambda root, train: load_digits(train=train), 0.90, "64-500-10", held_back=300, every=10, most=500),
}


class Training:
    """One contender in training: its data, its network, and its clock, which runs from before the data are read."""

    def __init__(self, contender: str, task: str, root: Path | None, clock: Callable[[], float]) -> None:
        self.goal, self.clock, self.seconds, self.done, start = GOALS[task], clock, 0.0, 0, clock()
        data = self.goal.load(root, train=True)
        sizes = [len(data) - self.goal.held_back, self.goal.held_back]
        self.train, self.held_back = random_split(data, sizes, torch.Generator().manual_seed(0))
        torch.manual_seed(0)
        self.encoder, shape = RateEncoder(self.goal.steps), data[0][0].shape
        self.net, self.step, self.evaluate = (bptt if contender == BPTT else ours)(contender, self, shape)
        self.feed = self.stream()
        self.seconds += clock() - start

    def stream(self):
        """Batches without end, in an order that is the same for all."""
        loader = batches(self.train, self.goal.batch, shuffle=True, generator=torch.Generator().manual_seed(0))
        while True:
            yield from loader

    def learn(self, steps: int) -> None:
        """So many more training steps, with the clock running."""
        start = self.clock()
        for x, labels in islice(self.feed, steps):
            self.step(x, labels)
        self.seconds, self.done = self.seconds + self.clock() - start, self.done + steps

    def accuracy(self) -> float:
        """Of the part that is held back."""
        return self.evaluate(batches(self.held_back, 500))


def ours(contender: str, training: Training, shape: tuple[int, ...]) -> Contender:
    """By this package's trainer."""
    net = network(training.goal.network, shape)
    optimizer = torch.optim.Adam(net.parameters(), training.goal.lr, fused=True)
    trainer = BRPTrainer(
        net, num_classes=10, propagation=RULES[contender](), optimizer=optimizer, encoder=training.encoder
    )
    return net, trainer.step, lambda loader: trainer.evaluate(loader).accuracy


def bptt(contender: str, training: Training, shape: tuple[int, ...]) -> Contender:
    """As snnTorch's tutorials have it."""

    def neuron() -> nn.Module:
        return snn.Leaky(0.2, threshold=0.5, reset_mechanism="zero", spike_grad=boxcar(), init_hidden=True)

    net = network(training.goal.network, shape, neuron=neuron)
    optimizer = torch.optim.Adam(net.parameters(), training.goal.lr, fused=True)

    def forward(x: Tensor) -> Tensor:
        return unroll(net, training.encoder(x))

    def step(x: Tensor, labels: Tensor) -> None:
        rate_mse(forward(x), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    @torch.no_grad()
    def evaluate(loader) -> float:
        right = [forward(x).mean(0).argmax(-1) == labels for x, labels in loader]
        return float(torch.cat(right).float().mean())

    return net, step, evaluate


def race(training: Training) -> dict[str, object]:
    """Train until the goal is reached, or given up: seconds, steps, and the accuracy at the end."""
    accuracy = 0.0
    while accuracy < training.goal.accuracy and training.done < training.goal.most:
        training.learn(training.goal.every)
        accuracy = training.accuracy()
        print(f"{training.seconds:.1f} s, {training.done} steps: {accuracy:.4f}", file=sys.stderr, flush=True)
    reached = accuracy >= training.goal.accuracy
    return {"seconds": round(training.seconds, 1), "steps": training.done, "accuracy": accuracy, "reached": reached}


# Parts of a step by the function that does them: where it is, its name, and by whom, where only some calls count.
PARTS: dict[str, list[tuple[str, str, str | None]]] = {
    "loading": [("time_to_accuracy.py", "stream", None)],
    "encoding": [("encoding.py", "__call__", None)],
    "forward": [("engine.py", "_run", None), ("sequence.py", "unroll", None)],
    "signals": [("engine.py", "_learn", "_run")],
    "weights and the way back": [("engine.py", "_backward", None), ("_tensor.py", "backward", "step")],
    "optimizer": [("adam.py", "step", None)],
}
INSIDE = {"forward": ["signals"], "signals": ["weights and the way back"]}  # what a part's time holds of others


def profile(training: Training, steps: int) -> dict[str, float]:
    """Share of each part in the time of some training steps."""
    training.learn(5)  # memory and kernels are there
    profiler = cProfile.Profile(training.clock)
    profiler.runcall(training.learn, steps)
    stats = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    total = sum(own for _, _, own, _, _ in stats.values())

    def seconds(file: str, name: str, caller: str | None) -> float:
        found = [row for (path, _, function), row in stats.items() if path.endswith("/" + file) and function == name]
        if caller is None:
            return sum(row[3] for row in found)
        return sum(call[3] for row in found for (_, _, by), call in row[4].items() if by == caller)

    held = {part: sum(seconds(*where) for where in places) for part, places in PARTS.items()}
    if held["signals"]:  # of the hidden layers; the output's way back is no part of it
        held["signals"] -= seconds("engine.py", "_backward", "_learn")
        held["forward"] -= held["signals"] + seconds("engine.py", "_backward", "_learn")
    return {part: value / total for part, value in held.items()} | {"the rest": 1 - sum(held.values()) / total}


def in_a_process(args: argparse.Namespace, contender: str, mode: str) -> dict[str, float]:
    """What a fresh process that runs one contender prints."""
    command = [
        sys.executable,
        __file__,
        "--task",
        args.task,
        "--clock",
        args.clock,
        "--work",
        contender,
        "--mode",
        mode,
    ]
    command += ["--data", str(args.data)] if args.data else []
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    return json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="digits", choices=GOALS)
    parser.add_argument("--data", type=Path, help="folder with the task's files")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", default="wall", choices=CLOCKS, help="cpu, with --threads 1, on a busy machine")
    parser.add_argument("--contenders", nargs="+", default=[*RULES, BPTT], choices=[*RULES, BPTT], metavar="NAME")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--mode", choices=("race", "profile"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        training = Training(args.work, args.task, args.data, CLOCKS[args.clock])
        print(json.dumps(race(training) if args.mode == "race" else profile(training, 50)))
        return
    goal = GOALS[args.task]
    print(f"{args.task}: {goal.accuracy:.0%} with {goal.network}, T = {goal.steps}, batches of {goal.batch}\n")
    print("| | seconds | training steps | accuracy, held back |\n" + "| --- " * 4 + "|")
    for name in args.contenders:
        row = in_a_process(args, name, "race")
        seconds = row["seconds"] if row["reached"] else f"not within {row['seconds']}"
        print(f"| {name} | {seconds} | {row['steps']} | {row['accuracy']:.4f} |", flush=True)
    print("\n| share of a step | " + " | ".join([*PARTS, "the rest"]) + " |\n" + "| --- " * (len(PARTS) + 2) + "|")
    for name in args.contenders:
        shares = in_a_process(args, name, "profile")
        print(f"| {name} | " + " | ".join(f"{100 * share:.0f} %" for share in shares.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
