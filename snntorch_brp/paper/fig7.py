"""Fig. 7: membrane potentials and spikes of random hidden neurons while BRP trains them."""

from __future__ import annotations

from typing import ClassVar

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from snntorch_brp.activity import Activity
from snntorch_brp.data.loader import batches
from snntorch_brp.paper.datasets import MNIST
from snntorch_brp.paper.lab import Lab, Probe
from snntorch_brp.paper.report import Result
from snntorch_brp.paper.stored import Run
from snntorch_brp.paper.style import Row, effort, format_mean, mean_and_spread, provenance
from snntorch_brp.tasks.base import TrainTest
from snntorch_brp.training import EpochResult, Trainer

EPOCHS = (1, 5, 10, 20)
NEURONS = 5
SAMPLES = 100


class MembraneProbe(Probe):
    """The last hidden layer on the first test samples: traces of a few neurons, and how often and stably all fire."""

    name = "membrane"
    keys: ClassVar = {
        "epoch": int, "layer": str, "threshold": float, "neurons": list, "membrane": list, "spikes": list,
        "rate": float, "repeatability": float,
    }  # fmt: skip

    def start(self, trainer: Trainer, sets: TrainTest) -> None:
        """Keep the samples."""
        self.x, _ = next(iter(batches(sets.test, SAMPLES)))

    def on_epoch_end(self, trainer: Trainer, result: EpochResult) -> None:
        """Show the samples twice, with encoding noise of its own each time."""
        layer, first = self._run(trainer, seed=0)
        _, second = self._run(trainer, seed=1)
        membrane, spikes = (x[:, 0].flatten(1) for x in (first.membrane, first.spikes))
        chosen = torch.randperm(spikes.shape[1], generator=torch.Generator().manual_seed(0))[:NEURONS].sort().values
        threshold = trainer.net.get_submodule(layer).threshold
        self.rows.append(
            {
                "epoch": result.epoch,
                "layer": layer,
                "threshold": float(threshold),  # type: ignore[arg-type]
                "neurons": chosen.tolist(),
                "membrane": membrane[:, chosen].T.tolist(),
                "spikes": spikes[:, chosen].T.tolist(),
                "rate": float(first.spikes.mean()),
                "repeatability": correlation(first.spikes.sum(0), second.spikes.sum(0)),
            }
        )

    def _run(self, trainer: Trainer, *, seed: int) -> tuple[str, Activity]:
        activity = trainer.observe(trainer.encode(self.x, seed=seed))
        layer = list(activity)[-2]
        return layer, activity[layer]


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's correlation of two tensors of one shape; 0 where one is constant."""
    both = torch.stack([a.flatten(), b.flatten()]).double()
    return float(torch.corrcoef(both)[0, 1].nan_to_num())


def reproduce(lab: Lab) -> Result:
    """Train under BRP with the probe, for 20 epochs, or twice what the budget gives where that is less."""
    (dataset,) = lab.datasets(MNIST)
    epochs = min(max(EPOCHS), 2 * lab.plan(dataset, "brp", seed=0).config.epochs)
    runs = [lab.train(dataset, "brp", seed, epochs=epochs, probe=MembraneProbe) for seed in lab.seeds(dataset)]
    rows: list[Row] = []
    for place in range(epochs):
        for quantity in ("rate", "repeatability"):
            mean, spread = mean_and_spread(run.found[place][quantity] for run in runs)
            layer = runs[0].found[place]["layer"]
            rows.append(
                {
                    **provenance(runs),
                    "layer": layer,
                    "epoch": place + 1,
                    "quantity": quantity,
                    "mean": mean,
                    "sd": spread,
                }
            )
    first, last = ({row["quantity"]: row for row in rows if row["epoch"] == epoch} for epoch in (1, epochs))
    changed = {
        name: f"{name} {format_mean(first[name]['mean'], first[name]['sd'], 3)} after epoch 1, "
        f"{format_mean(last[name]['mean'], last[name]['sd'], 3)} after epoch {epochs}"
        for name in ("rate", "repeatability")
    }
    more = {name: "yes" if last[name]["mean"] > first[name]["mean"] else "no" for name in changed}
    verdict = [
        f"{effort(runs)}, layer {layer}: {'; '.join(changed.values())}. Published: more frequent, more stable firing. "
        f"Here, more frequent: {more['rate']}; more stable, by repeatability: {more['repeatability']}."
    ]
    notes = [
        f"Test sample 0 and {NEURONS} random neurons, seed {runs[0].config['seed']}; dashed: threshold; a bar on top "
        "is a spike.",
        f"Rate: spikes a neuron and step over {SAMPLES} test samples. Repeatability: correlation of the neurons' spike "
        "counts between two presentations of these samples, each with encoding noise of its own.",
    ]
    shown = sorted({*(epoch for epoch in EPOCHS if epoch <= epochs), epochs})
    return Result("fig7", "membranes of hidden neurons under BRP", _draw(runs[0], shown), rows, verdict, notes)


def _draw(run: Run, epochs: list[int]) -> Figure:
    found = [run.found[epoch - 1] for epoch in epochs]
    neurons = found[0]["neurons"]
    figure, axes = plt.subplots(
        len(neurons),
        len(epochs),
        figsize=(2.9 * len(epochs), 1.3 * len(neurons) + 0.6),
        layout="constrained",
        squeeze=False,
        sharex=True,
        sharey=True,
    )
    top = max(max(max(trace) for trace in row["membrane"]) for row in found)
    for column, row in enumerate(found):
        for place, neuron in enumerate(neurons):
            ax = axes[place, column]
            ax.plot(row["membrane"][place], color="#1f77b4", linewidth=1)
            ax.axhline(row["threshold"], color="gray", linestyle="--", linewidth=0.8)
            fired = [step for step, spike in enumerate(row["spikes"][place]) if spike]
            ax.vlines(fired, top, top + 0.25 * abs(top), color="#d62728", linewidth=1.5)
            if column == 0:
                ax.set_ylabel(f"neuron {neuron}")
        axes[0, column].set_title(f"epoch {row['epoch']}")
        axes[-1, column].set_xlabel("time step")
    figure.suptitle(f"{run.label}, layer {found[0]['layer']}, {run.config['model']}")
    return figure
