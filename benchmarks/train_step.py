"""Seconds and memory of one training step, side by side: this package, its host and its neighbours.

    python benchmarks/train_step.py                      the paper's MNIST network, all contenders
    python benchmarks/train_step.py --study networks     the paper's four networks
    python benchmarks/train_step.py --study depth        1, 2, 4, 8 hidden layers
    python benchmarks/train_step.py --study steps        T = 10, 20, 50, 100
    python benchmarks/train_step.py --study batch        batches of 10, 50, 200
    python benchmarks/train_step.py --study tutorials    snnTorch's quickstart, tutorials 5, 6, 7 and ST-MNIST
    python benchmarks/train_step.py --study deep         3, 6 and 9 convolutions with batch norm and max-pooling

Every contender runs in a fresh process of its own. The processes take turns, one step at a time, so that whatever else
the machine does falls on all of them; the table gives medians over the rounds, and the ratio to the fastest peer is
the median of the ratios within a round. Memory is the peak of resident memory above what the process held before the
network was built. Neighbours that are not installed are named, with what to type. Depth, steps and batch are the
paper's Table I, cost against depth, steps and batch, measured. Where the time of a step goes, ``floor.py`` says.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

STUDIES = {
    "mnist": [{"net": "mnist"}],
    "networks": [{"net": "mnist"}, {"net": "cifar10"}, {"net": "tidigits", "steps": 30}, {"net": "dvsgesture"}],
    "depth": [{"depth": depth} for depth in (1, 2, 4, 8)],
    "steps": [{"steps": steps} for steps in (10, 20, 50, 100)],
    "batch": [{"batch": batch} for batch in (10, 50, 200)],
    "tutorials": [{"net": name} for name in ("quickstart", "tutorial5", "tutorial6", "tutorial7", "st-mnist")],
    "deep": [{"net": name} for name in ("deep3", "deep6", "deep9")],
    "small": [{"net": "small", "steps": 5, "batch": 10}],
}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
PEERS = ("reference BRP", "reference BP", "snnTorch BPTT", "SpikingJelly BPTT", "Norse BPTT")
COMPILED = "snnTorch BPTT compiled"  # by inductor: half a minute and more to start, and no peer of the eager ones
RULES = ("BRP", "RewardPrediction", "ErrorProjection", "SignProjection", "Backprop", "OutputOnly")
OURS = tuple(f"{way} {rule}" for way in ("attach", "fused", "fused bf16") for rule in RULES)
MAIN = (*PEERS, "attach BRP", "fused BRP", "fused bf16 BRP")
STUDIED = {  # by which contenders; MAIN where it does not say
    "mnist": PEERS + OURS,
    "tutorials": ("snnTorch BPTT", COMPILED, "attach BRP", "fused BRP", "fused RewardPrediction"),
    "deep": ("snnTorch BPTT", COMPILED, "attach BRP", "fused BRP", "fused RewardPrediction"),
}
NEEDS = {
    "SpikingJelly BPTT": ("spikingjelly", "pip install --no-deps spikingjelly; pip install loguru tqdm scipy"),
    "Norse BPTT": ("norse", "pip install --no-deps norse; pip install nir nirtorch"),
}


@dataclass
class Contender:
    """A process that does a step when told to."""

    name: str
    process: subprocess.Popen[str]
    seconds: list[float] = field(default_factory=list)
    megabytes: float = 0.0
    weights: float = 0.0  # MB of float32 weights, their gradients and Adam's two averages

    def turn(self, word: str) -> dict[str, float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"'{self.name}' ended: see its error above")
        return json.loads(answer)


def measure(setting: dict[str, object], names: Sequence[str], rounds: int, threads: int, clock: str) -> list[Contender]:
    """Let all contenders take turns at one setting."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    contenders = []
    for name in names:
        command = [sys.executable, __file__, "--work", name, "--setting", json.dumps(setting), "--clock", clock]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        contenders.append(Contender(name, subprocess.Popen(command, env=environment, **pipes)))
    try:
        for contender in contenders:
            contender.turn("warm up")
        for _ in range(rounds):
            for contender in contenders:
                contender.seconds.append(contender.turn("step")["seconds"])
        for contender in contenders:
            memory = contender.turn("memory")
            contender.megabytes, contender.weights = memory["megabytes"], memory["weights"]
    finally:
        for contender in contenders:
            contender.process.kill()
            contender.process.wait()
    return contenders


def work(name: str, setting: dict[str, object], clock: Callable[[], float]) -> None:
    """The other side of :class:`Contender`."""
    from contenders import CONTENDERS, Setting

    tiny, what = Setting("small", steps=2, batch=2), Setting(**setting)
    CONTENDERS[name](tiny)(*tiny.data())  # loads all that is loaded once
    before = _memory("VmRSS")
    step = CONTENDERS[name](what)
    x, labels = what.data()
    for word in sys.stdin:
        if word.startswith("memory"):
            peak = _memory("VmHWM")  # before the network is built once more, to be counted
            weights = sum(p.numel() for p in what.network().parameters())
            answer = {"megabytes": peak - before, "weights": 16e-6 * weights}
        else:
            for _ in range(2 if word.startswith("warm") else 0):
                step(x, labels)
            start = clock()
            step(x, labels)
            answer = {"seconds": clock() - start}
        print(json.dumps(answer), flush=True)


def _memory(key: str) -> float:
    """Resident memory now (VmRSS) or at its peak (VmHWM), MB."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")  # only Linux says
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith(key))


def rows_of(setting: dict[str, object], contenders: Sequence[Contender]) -> list[dict[str, object]]:
    """One row a contender, with its ratio to the fastest peer."""
    peers = [contender for contender in contenders if contender.name in PEERS]
    fastest = min(peers, key=lambda peer: statistics.median(peer.seconds), default=contenders[0])
    least = min((peer.megabytes for peer in peers), default=contenders[0].megabytes)
    return [
        {
            "setting": " ".join(f"{key}={value}" for key, value in setting.items()),
            "contender": contender.name,
            "ms": round(1e3 * statistics.median(contender.seconds), 2),
            "times_faster": round(_ratio(fastest, contender), 2),
            "MB": round(contender.megabytes, 1),
            "MB_beyond_weights": round(contender.megabytes - contender.weights, 1),
            "memory_share": round(contender.megabytes / least, 3) if least else None,
        }
        for contender in contenders
    ]


def _ratio(one: Contender, other: Contender) -> float:
    return statistics.median(a / b for a, b in zip(one.seconds, other.seconds, strict=True))


def table(rows: Sequence[dict[str, object]]) -> str:
    heads = ["setting", "contender", "ms a step", "times the fastest peer", "MB", "beyond weights and Adam"]
    lines = ["| " + " | ".join([*heads, "of the least peer's"]) + " |", "| --- " * (len(heads) + 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows])


def draw(rows: Sequence[dict[str, object]], path: Path) -> None:
    """Seconds and memory against the settings, a line a contender."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    settings = list(dict.fromkeys(row["setting"] for row in rows))
    names, values = zip(*(str(setting).split("=", 1) for setting in settings), strict=True)
    swept = all(value.isdigit() for value in values)  # one number varies; else there is nothing in between
    x = [int(value) for value in values] if swept else settings
    figure, axes = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    for axis, key, title in zip(axes, ("ms", "MB"), ("ms a step", "peak MB above baseline"), strict=True):
        for name in dict.fromkeys(row["contender"] for row in rows):
            y = [row[key] for row in rows if row["contender"] == name]
            line = ("--" if name in PEERS else "-") if swept else ""
            axis.plot(x, y, label=name, marker="o" if name in PEERS else "s", linestyle=line)
        axis.set(title=title, yscale="log")
        if swept:
            axis.set(xlabel=names[0], xscale="log")
            axis.set_xticks(x, values)
            axis.set_xticks([], minor=True)
        else:
            axis.tick_params(axis="x", rotation=20)
        axis.grid(visible=True, which="both", alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=7, loc="outside right center")
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="mnist", choices=STUDIES)
    parser.add_argument("--contenders", nargs="+", metavar="NAME", help=f"default: {', '.join(MAIN)}")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--clock", default="wall", choices=CLOCKS, help="cpu, with --threads 1, on a busy machine")
    parser.add_argument("--out", type=Path, help="folder for the table (csv) and the plot (png)")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--setting", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.work, args.setting, CLOCKS[args.clock])
        return
    names = list(args.contenders or STUDIED.get(args.study, MAIN))
    for name in [name for name in names if name in NEEDS and importlib.util.find_spec(NEEDS[name][0]) is None]:
        print(f"{name} is left out, it is not installed here: {NEEDS[name][1]}", file=sys.stderr)
        names.remove(name)
    rows: list[dict[str, object]] = []
    for setting in STUDIES[args.study]:
        rows += rows_of(setting, measure(setting, names, args.rounds, args.threads, args.clock))
        print(table(rows[-len(names) :]), flush=True)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        with (args.out / f"{args.study}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        draw(rows, args.out / f"{args.study}.png")


if __name__ == "__main__":
    main()
