"""The small networks of NeuroTrain under the rules here, for as many epochs, beside what its authors print.

Their table is of fixed networks, 20 epochs, accuracy on the test set after the last, with settings that a search of ten
trials found for each entry. Here one setting serves all: Adam from 1e-3 along a cosine, batches and neurons as always.

Caviglia, Marostica, Bardini, Savino, Di Carlo, "NeuroTrain: Surveying Local Learning Rules for Spiking Neural Networks
with an Open Benchmarking Framework", arXiv:2605.15058, 2026; the figures are of its repository's README in May 2026.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from snntorch_brp.paper.datasets import CIFAR10, MNIST, DatasetInUse, PaperDataset
from snntorch_brp.paper.lab import Lab, NotFinishedError
from snntorch_brp.paper.report import Result
from snntorch_brp.paper.stored import Run
from snntorch_brp.paper.style import Row, effort, format_mean, mean_and_spread, provenance, published

DATASETS = (MNIST, PaperDataset("Fashion-MNIST", "fashion-mnist"), CIFAR10, PaperDataset("N-MNIST", "nmnist"))
CONVOLUTIONS = "Conv5x5x12-S2-Conv5x5x32-S2-FC10"
NETWORKS: Mapping[str, Mapping[str, str]] = {
    "MNIST": {"fully connected": "FC256-FC10", "convolutions": CONVOLUTIONS},
    "Fashion-MNIST": {"fully connected": "FC800-FC10", "convolutions": CONVOLUTIONS},
    "CIFAR-10": {"fully connected": "FC1024-FC512-FC10", "convolutions": CONVOLUTIONS},
    "N-MNIST": {"fully connected": "FC512-FC10", "convolutions": CONVOLUTIONS},
}
RULES: Mapping[str, str] = {
    "brp": "BRP",
    "reward-prediction": "RewardPrediction",
    "predsim": "PredSim",
    "backprop": "pseudo-BP",
    "output-only": "hidden layers at rest",
}
EPOCHS = 20

_COLUMNS = ("MNIST", "Fashion-MNIST", "CIFAR-10", "N-MNIST")
_PRINTED = {
    "fully connected": {
        "BPTT": (97.8, 83.7, 35.9, 96.8),
        "DECOLLE": (95.7, 80.1, 39.9, 93.1),
        "TP": (97.5, 86.2, 33.9, 96.3),
        "ETLP, label only": (93.2, 82.2, 24.9, 88.8),
        "OSTTP, label only": (92.5, 82.3, 31.5, 91.0),
    },
    "convolutions": {
        "BPTT": (98.9, 82.9, 44.9, 98.2),
        "DECOLLE": (97.1, 78.3, 35.2, 95.5),
        "TP": (98.2, 84.6, 54.7, 97.2),
    },
}
PUBLISHED: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    data: {kind: {rule: row[place] for rule, row in rules.items()} for kind, rules in _PRINTED.items()}
    for place, data in enumerate(_COLUMNS)
}
"""Percent, by data set, network and rule."""

Trained = Mapping[str, Mapping[str, Sequence[Run]]]
"""Trainings by kind of network and by rule."""


def reproduce(lab: Lab) -> Result:
    """Train both networks under every rule on every task that there is data for."""
    shown = [(dataset, trained) for dataset in lab.datasets(*DATASETS) if (trained := _trainings(lab, dataset))]
    if not shown:
        raise NotFinishedError(f"{lab.out} holds no finished training of this table: leave out --finished")
    figure, axes = plt.subplots(len(shown), 2, figsize=(11, 3.4 * len(shown)), layout="constrained", squeeze=False)
    rows: list[Row] = []
    verdict = []
    for panels, (dataset, trained) in zip(axes, shown, strict=True):
        for ax, kind in zip(panels, NETWORKS[dataset.paper.name], strict=True):
            ours = [_row(kind, rule, runs) for rule, runs in trained.get(kind, {}).items()]
            theirs = PUBLISHED[dataset.paper.name][kind]
            rows += ours
            rows += [
                published(dataset.paper.name, kind=kind, rule=rule, accuracy=value, epochs=EPOCHS)
                for rule, value in theirs.items()
            ]
            _draw(ax, ours, theirs)
            ax.set_title(f"{dataset.label}: {NETWORKS[dataset.paper.name][kind]}", fontsize=9)
            if ours:
                verdict.append(_verdict(kind, next(iter(trained[kind].values())), ours, theirs))
    notes = [
        "Published: NeuroTrain's README, May 2026; test accuracy after the last of 20 epochs, settings found for each "
        "entry by a search of ten trials, on all the data. Ours: one setting for all, nothing chosen; accuracy on the "
        "test set after the last epoch. Neurons, numbers of time steps and input codes are each package's own.",
        *lab.left_out(*DATASETS),
    ]
    return Result("peers", "small networks, beside NeuroTrain's published table", figure, rows, verdict, notes)


def _trainings(lab: Lab, dataset: DatasetInUse) -> Trained:
    found: dict[str, dict[str, Sequence[Run]]] = {}
    own = {} if lab.budget.same_epochs or lab.budget.small_study else {"epochs": EPOCHS}
    for kind, notation in NETWORKS[dataset.paper.name].items():
        changes = {"model": notation, "lr": 1e-3, "schedule": "cosine", "weights": "torch"}
        for rule in RULES:
            regions = {"regions": 4} if rule == "predsim" and kind == "convolutions" else {}
            if runs := lab.trained(dataset, rule, changes={**changes, **regions}, **own):
                found.setdefault(kind, {})[rule] = runs
    return found


def _row(kind: str, rule: str, runs: Sequence[Run]) -> Row:
    mean, spread = mean_and_spread(run.accuracies[-1] for run in runs)
    return {**provenance(runs), "kind": kind, "rule": RULES[rule], "accuracy": mean, "sd": spread}


def _draw(ax: Axes, ours: Sequence[Row], theirs: Mapping[str, float]) -> None:
    names = [*(row["rule"] for row in ours), *(f"{rule} *" for rule in theirs)]
    values = [*(row["accuracy"] for row in ours), *theirs.values()]
    colors = ["#9467bd"] * len(ours) + ["#bbbbbb"] * len(theirs)
    ax.bar_label(ax.bar(names, values, color=colors), fmt="%.1f", fontsize=7)
    ax.tick_params(axis="x", labelrotation=25, labelsize=7)
    ax.set(ylabel="test accuracy, %   (* published)", ylim=(0, 108))


def _verdict(kind: str, runs: Sequence[Run], ours: Sequence[Row], theirs: Mapping[str, float]) -> str:
    said = ", ".join(f"{row['rule']} {format_mean(row['accuracy'], row['sd'], 1, unit=' %')}" for row in ours)
    printed = ", ".join(f"{rule} {value:.1f}" for rule, value in theirs.items())
    return f"{effort(runs)}, {kind}: {said}; published: {printed}."
