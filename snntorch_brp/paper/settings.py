"""What the paper's setting leaves open, or this package chose: one thing changed at a time, beside layers at rest.

Nothing here reads the test set: a part of the training data is held out, and every accuracy is on that part. So what is
learned here may be chosen by. What multiplies the gradient of a hidden layer alone (a sum over the batch instead of the
mean, other bounds of the feedback) is not among the changes, because Adam divides it out again: its steps are m/√v, up
to its epsilon (``tests/paper/test_settings.py`` holds both to that).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt

from snntorch_brp.paper.datasets import MNIST, TIDIGITS_2D, DatasetInUse
from snntorch_brp.paper.lab import Lab, NotFinishedError
from snntorch_brp.paper.report import Result
from snntorch_brp.paper.stored import Run
from snntorch_brp.paper.style import Row, effort, format_mean, mean_and_spread, provenance
from snntorch_brp.propagation import PROPAGATIONS as RULES
from snntorch_brp.runs.config import RunConfig

DATASETS = (TIDIGITS_2D, MNIST)
COMPARED = ("brp", "output-only")
HELD_OUT = 0.3  # of the training data: with a tenth, chance alone would be 3 points on spoken digits
RATES = (1e-4, 3e-4, 1e-3, 3e-3)
SCHEDULES = ("constant", "cosine")
BATCHES = (20, 50)
STEPS = (10, 20, 30)


def changes(base: RunConfig) -> dict[str, dict[str, Any]]:
    """Each setting that is tried, by what is written beside it: nothing, then one change each."""
    tried: dict[str, dict[str, Any]] = {"as it is": {}}
    tried |= {f"learning rate {lr:g}": {"lr": lr} for lr in RATES if lr != base.lr}
    tried |= {f"schedule {name}": {"schedule": name} for name in SCHEDULES if name != base.schedule}
    tried |= {f"batch {size}": {"batch_size": size} for size in BATCHES if size != base.batch_size}
    tried[f"hidden learning rate {base.lr / 10:g}"] = {"hidden_lr": base.lr / 10}
    tried |= {f"α {factor * base.alpha:g}": {"alpha": factor * base.alpha} for factor in (0.5, 2)}
    tried |= {f"T = {T}": {"steps": T} for T in STEPS if base.steps != T}
    weights = "torch" if base.weights == "calibrated" else "calibrated"
    tried[f"{weights} weights"] = {"weights": weights}
    tried["reset without gradient"] = {"detach_reset": True}
    return tried


def reproduce(lab: Lab) -> Result:
    """Train BRP and layers at rest with each change, judged on training data that is held out."""
    shown = [(dataset, runs) for dataset in lab.datasets(*DATASETS) if (runs := _trainings(lab, dataset))]
    if not shown:
        raise NotFinishedError(f"{lab.out} holds no finished training of this study: leave out --finished")
    figure, axes = plt.subplots(1, len(shown), figsize=(1 + 5.5 * len(shown), 5.2), layout="constrained", squeeze=False)
    rows: list[Row] = []
    for ax, (dataset, by_change) in zip(axes.flat, shown, strict=True):
        measured = [_row(rule, change, runs) for change, by_rule in by_change.items() for rule, runs in by_rule.items()]
        rows += measured
        labels = list(by_change)
        for rule in COMPARED:
            points = [row for row in measured if row["rule"] == RULES[rule].title]
            places, means = [labels.index(row["change"]) for row in points], [row["accuracy"] for row in points]
            ax.errorbar(means, places, xerr=[row["sd"] for row in points], marker="o", linestyle="none", capsize=3,
                        color=RULES[rule].color, label=RULES[rule].title)  # fmt: skip
        ax.set_yticks(range(len(labels)), labels)
        ax.invert_yaxis()
        ax.grid(alpha=0.3)
        ax.set(title=dataset.label.replace(", in place", "\nin place"), xlabel="accuracy on held-out training data, %")
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    verdict = [line for dataset, by_change in shown for line in _verdict(dataset, by_change)]
    notes = [
        "One setting is changed at a time. Accuracies are on a part of the training data that is held out, after the "
        "last epoch; the test set is never read.",
        *lab.left_out(*DATASETS),
    ]
    return Result("settings", "one setting changed at a time", figure, rows, verdict, notes)


def _trainings(lab: Lab, dataset: DatasetInUse) -> dict[str, dict[str, Sequence[Run]]]:
    """What is trained, by change and rule."""
    found: dict[str, dict[str, Sequence[Run]]] = {}
    for change, changed in changes(lab.plan(dataset, COMPARED[0], 0).config).items():
        steps, other = changed.get("steps"), {key: value for key, value in changed.items() if key != "steps"}
        for rule in COMPARED:
            if rule == "output-only" and set(changed) & {"hidden_lr", "detach_reset"}:
                continue  # which change nothing, or the output's loss alone, where hidden layers do not learn
            own = {"weights": "torch"} if rule == "output-only" and "weights" in changed else other
            runs = lab.trained(dataset, rule, steps=steps, changes={**own, "validation": HELD_OUT})
            if runs:
                found.setdefault(change, {})[rule] = runs
    return found


def _row(rule: str, change: str, runs: Sequence[Run]) -> Row:
    mean, spread = mean_and_spread(run.accuracies[-1] for run in runs)
    return {**provenance(runs), "rule": RULES[rule].title, "change": change, "accuracy": mean, "sd": spread}


def _verdict(dataset: DatasetInUse, by_change: Mapping[str, Mapping[str, Sequence[Run]]]) -> list[str]:
    """A line for each change, under the line that says what was trained."""
    first = next(runs for by_rule in by_change.values() for runs in by_rule.values())
    return [f"{effort(first)}, on {first[0].test} held-out training samples:"] + [
        f"  {change}: "
        + ", ".join(
            f"{RULES[rule].title} {format_mean(*mean_and_spread(run.accuracies[-1] for run in runs), 1, ' %')}"
            for rule, runs in by_rule.items()
        )
        for change, by_rule in by_change.items()
    ]
