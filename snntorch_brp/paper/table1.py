"""Table I: operations and time of a training step against the number of hidden layers K."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from snntorch_brp.consolidation import STDP, Consolidation, PseudoGradient
from snntorch_brp.models import mlp
from snntorch_brp.paper.lab import Lab, machine
from snntorch_brp.paper.published import TABLE1
from snntorch_brp.paper.report import Result
from snntorch_brp.paper.style import COLORS, RULES, Row, published
from snntorch_brp.propagation import BRP, Backprop, Propagation
from snntorch_brp.training import BRPTrainer

WIDTH, CLASSES, STEPS, BATCH = 256, 10, 10, 50


@dataclass(frozen=True)
class Case:
    """One of the rules that are compared."""

    label: str
    color: str
    propagation: Callable[[], Propagation]
    consolidation: Callable[[], Consolidation] = PseudoGradient


CASES = {
    "backprop": Case(RULES["backprop"], COLORS["backprop"], Backprop),
    "brp": Case(RULES["brp"], COLORS["brp"], BRP),
    "stdp": Case("STDP", "#ff7f0e", BRP, STDP),
}
ENGINES = ("attach", "fused")


def reproduce(lab: Lab) -> Result:
    """Count and time steps of networks that grow deeper."""
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(STEPS, BATCH, WIDTH, generator=generator) < 0.3).float().to(lab.device)
    labels = torch.randint(CLASSES, (BATCH,), generator=generator).to(lab.device)
    trainers = {
        (name, engine, K): _trainer(case, engine, K, lab.device)
        for name, case in CASES.items()
        for engine in ENGINES
        for K in lab.budget.depths
    }
    seconds = _times(trainers, x, labels, repeats=lab.budget.repeats)
    rows: list[Row] = []
    for (name, engine, K), trainer in trainers.items():
        told = {
            "source": "measured",
            "data": "random spikes, 30 %",
            "rule": CASES[name].label,
            "engine": engine,
            "K": K,
        }
        told |= {"network": f"{K} hidden layers of {WIDTH}", "T": STEPS, "batch": BATCH, "device": machine(lab.device)}
        operations = _operations(trainer, x, labels) if engine == "attach" else None
        rows.append({**told, "operations": operations, "milliseconds": 1000 * seconds[name, engine, K]})
    slopes = {name: _slope(rows, CASES[name].label, "operations", "attach") / WIDTH**2 for name in CASES}
    for name, text in TABLE1.items():
        rows.append(published("-", rule=CASES[name].label, operations=text))
    verdict = [
        f"{CASES[name].label}: each hidden layer costs {slopes[name]:.2f} m² operations a sample and step, and "
        + " or ".join(f"{_slope(rows, CASES[name].label, 'milliseconds', e):.2f} ms ({e})" for e in ENGINES)
        + f". Published: {TABLE1[name]}."
        for name in CASES
    ]
    notes = [
        "Operations are the multiply-accumulates of all matrix products of one training step, counted while it runs, "
        f"for a sample and time step; layers have m = {WIDTH} neurons. A forward pass takes m² a layer and a weight "
        "change another m²; pseudo-BP takes a third m² to bring the error back through the layer's weights, where BRP "
        f"takes only the label's way through B_l, {CLASSES} m a sample. Elementwise work (the neurons, and their "
        "adjoint) is not in the operations, but in the times, the fastest of "
        f"{lab.budget.repeats} steps, interleaved, Adam included. STDP is gated by the same reward as BRP.",
        "Published figures are orders of growth; the letters n and m there are the paper's.",
    ]
    return Result("table1", "cost of a step against depth", _draw(rows), rows, verdict, notes)


def _trainer(case: Case, engine: str, depth: int, device: str) -> BRPTrainer:
    torch.manual_seed(0)
    net = mlp([WIDTH] * (depth + 1) + [CLASSES]).to(device)
    return BRPTrainer(
        net,
        num_classes=CLASSES,
        propagation=case.propagation(),
        consolidation=case.consolidation(),
        engine=engine,  # type: ignore[arg-type]
    )


def _times(
    trainers: dict[tuple[str, str, int], BRPTrainer], x: Tensor, labels: Tensor, *, repeats: int
) -> dict[tuple[str, str, int], float]:
    """Seconds of the fastest step of each, one of each in turn; the first round warms up."""
    fastest = dict.fromkeys(trainers, float("inf"))
    for repeat in range(repeats + 1):
        for key, trainer in trainers.items():
            start = time.perf_counter()
            trainer.step(x, labels)  # reads the loss, which waits for the device
            if repeat:
                fastest[key] = min(fastest[key], time.perf_counter() - start)
    return fastest


def _operations(trainer: BRPTrainer, x: Tensor, labels: Tensor) -> float:
    with FlopCounterMode(display=False) as counter:
        trainer.step(x, labels)
    return counter.get_total_flops() / 2 / (len(x) * len(labels))  # two flops a multiply-accumulate


def _slope(rows: Sequence[Row], rule: str, quantity: str, engine: str) -> float:
    """What one more hidden layer adds, from the shallowest to the deepest network."""
    points = [(row["K"], row[quantity]) for row in rows if row["rule"] == rule and row.get("engine") == engine]
    (first, low), (last, high) = min(points), max(points)
    return (high - low) / (last - first)


def _draw(rows: Sequence[Row]) -> plt.Figure:
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 4), layout="constrained")
    for case in CASES.values():
        for engine, style in zip(ENGINES, ("-", "--"), strict=True):
            own = [row for row in rows if row["rule"] == case.label and row.get("engine") == engine]
            depths = [row["K"] for row in own]
            if engine == "attach":
                axes[0].plot(
                    depths,
                    [row["operations"] / WIDTH**2 for row in own],
                    color=case.color,
                    marker="o",
                    label=case.label,
                )
            times = [row["milliseconds"] for row in own]
            axes[1].plot(depths, times, style, color=case.color, marker="o", label=f"{case.label}, {engine}")
    axes[0].set(xlabel="hidden layers K", ylabel="operations a sample and time step, m²")
    axes[1].set(xlabel="hidden layers K", ylabel="ms a training step")
    for ax in axes:
        ax.set_ylim(bottom=0)
        ax.grid(alpha=0.3)
        ax.legend()
    return figure
