# %% [markdown]
# # What each rule costs
#
# One training step (forward, gradients, Adam) of a small network, 784-256-256-10 of snnTorch's leaky neurons, under
# every rule by name, beside backpropagation through time; and the peak memory of one sequence, for two lengths. Every
# measurement is a process of its own, forked from this one; the rules take turns. Memory is what a sequence takes
# beyond the network and the libraries, freed memory going back to the system at once; the input is drawn step by step.

# %%
from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable

import snntorch as snn
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snntorch_brp import BRPTrainer, OutputOnly, Propagation, RewardPrediction, attach, reset_state, rules
from snntorch_brp.propagation import Backprop
from snntorch_brp.rules import DECOLLE, ELL, OWN_DATA, RULES, EProp, LocalRule, overlay, paired

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
ENTRIES: dict[str, Callable[[], Propagation | LocalRule]] = {
    "backprop": Backprop,
    "output-only": OutputOnly,
    "reward-prediction": RewardPrediction,
    **RULES,
    "e-prop-symmetric": lambda: EProp(feedback="symmetric"),
    "e-prop-adaptive": lambda: EProp(feedback="adaptive"),
    "fell": lambda: ELL(feedback="random"),
    "decolle-learned": lambda: DECOLLE(learning_rate=1e-3),
}
HIDDEN, DENSITY = 256, 0.13


def network(inputs: int = 784) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for width in (HIDDEN, HIDDEN, 10):
        layers += [nn.Linear(inputs, width), snn.Leaky(0.9, init_hidden=True)]
        inputs = width
    return nn.Sequential(*layers)


def peak() -> float:
    """MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# %%
def step_time(name: str, *, batch: int, steps: int, repeats: int, clock: str) -> float:
    """Median milliseconds of a training step."""
    rule, labels = ENTRIES[name](), torch.arange(batch) % 10
    x = (torch.rand(steps, batch, 784) < DENSITY).float()
    if name in OWN_DATA:
        net = network(10 + 784)
        optimizer = torch.optim.Adam(net.parameters(), 1e-4)
        handle = attach(net, rule, num_classes=2 if name == "forward-forward" else 10)

        def step() -> None:
            optimizer.zero_grad()
            own_data(handle, net, name, x, labels)
            optimizer.step()
    else:
        net = network()
        trainer = BRPTrainer(net, num_classes=10, propagation=rule, optimizer=torch.optim.Adam(net.parameters(), 1e-4))

        def step() -> None:
            trainer.step(x, labels)

    taken = []
    for _ in range(repeats + 2):  # the first two build kernels and buffers
        start = CLOCKS[clock]()
        step()
        taken.append(CLOCKS[clock]() - start)
    return 1e3 * statistics.median(taken[2:])


def own_data(handle, net: nn.Module, name: str, x: Tensor, labels: Tensor) -> None:  # type: ignore[no-untyped-def]
    """Gradients of a batch of a rule's own making: twice as many samples."""
    with handle:
        reset_state(net)
        if name == "tp":
            spikes = torch.stack([net(x_t) for x_t in paired(x, labels, 10)])[:, : len(labels)]
            handle.backward(F.mse_loss(spikes.mean(0), F.one_hot(labels, 10).float()))
        else:
            shown = torch.cat([labels, (labels + 1) % 10])
            for x_t in overlay(torch.cat([x, x], dim=1), shown, 10):
                net(x_t)
            handle.backward(None, (torch.arange(2 * len(labels)) < len(labels)).long())


# %%
def memory(name: str, credit: str, *, batch: int, steps: int) -> float:
    """Peak MiB of one sequence under ``attach``, beyond what was taken before."""
    ctypes.CDLL(None).mallopt(-3, 65536)  # M_MMAP_THRESHOLD of glibc: what is freed goes back at once
    rule, labels = ENTRIES[name](), torch.arange(batch) % 10
    own = name in OWN_DATA
    net = network(10 + 784 if own else 784)
    classes = 2 if name == "forward-forward" else 10
    samples = 2 * batch if own else batch
    handle = attach(net, rule, num_classes=classes, credit=credit).register()
    frames = ((torch.rand(samples, 794 if own else 784) < DENSITY).float() for _ in range(steps))
    before = peak()
    if credit == "full":
        rate = sum(net(frame) for frame in frames) / steps
        if name == "forward-forward":
            handle.backward(None, (torch.arange(samples) < batch).long())
        else:
            loss = F.mse_loss(rate[:batch], F.one_hot(labels, 10).float())
            handle.backward(loss, None if own else labels)
    else:
        handle.teach(None if own else labels, steps=steps)
        for frame in frames:
            net(frame)
    return peak() - before


def credits_of(name: str) -> list[str]:
    """How a rule can learn."""
    rule = ENTRIES[name]()
    sent = rule.propagation if isinstance(rule, LocalRule) else rule
    learnt = rule.consolidation if isinstance(rule, LocalRule) else rules.DRTP().consolidation
    online = ["trace"] if sent.local and learnt.causal else []
    return online if sent.spatial else ["full", *online]


def measured(work: Callable[..., float], **options: object) -> float:
    """What a function gives in a process of its own."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(work, kwds=options)


# %%
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--longer", type=int, default=200, help="the other number of steps that memory is measured for")
    parser.add_argument("--repeats", type=int, default=5, help="steps timed in each process")
    parser.add_argument("--rounds", type=int, default=3, help="processes for each time")
    parser.add_argument("--clock", default="wall", choices=CLOCKS, help="cpu on a busy machine")
    parser.add_argument("--rules", nargs="+", default=list(ENTRIES), choices=list(ENTRIES), metavar="RULE")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    lengths, common = (args.steps, args.longer), {"batch": args.batch}
    timing = {**common, "steps": args.steps, "repeats": args.repeats, "clock": args.clock}
    times: dict[str, list[float]] = {name: [] for name in args.rules}
    for _ in range(args.rounds):
        for name in args.rules:
            times[name].append(measured(step_time, name=name, **timing))
    first = statistics.median(times[args.rules[0]])
    print(f"784-{HIDDEN}-{HIDDEN}-10, batch {args.batch}, one thread, {args.clock} clock, T = {args.steps}")
    print("| rule | ms a step | relative | MiB, T = {} | T = {} | online, T = {} | T = {} |".format(*lengths, *lengths))
    print("|" + " --- |" * 7)
    for name in args.rules:
        cells = []
        for credit in ("full", "trace"):
            for T in lengths:
                known = credit in credits_of(name)
                cells.append(f"{measured(memory, name=name, credit=credit, steps=T, **common):.1f}" if known else "")
        ms = statistics.median(times[name])
        print("| " + " | ".join([f"`{name}`", f"{ms:.0f}", f"{ms / first:.2f}", *cells]) + " |", flush=True)


if __name__ == "__main__":
    main()
