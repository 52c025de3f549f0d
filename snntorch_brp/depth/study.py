"""The study of depth: can convolutions learn from the label alone, and what does each of them add?

All rules train the same network from the same start: convolutions whose currents are batch-normalized and pooled by
their maximum before the neurons, two time steps, analog input; the first convolution's filters start as whitened
patches of training images, or stand still as such, in which case their spikes are kept and only the layers behind them
are run. First every rule is tried on a part of the training data, and judged on the validation part. The best rule that
is label-only is then trained on all training data but the validation part; beside it, for about as many seconds of the
processor by what trials took, pseudo-BP, the same network with its convolutions at rest, and behind a frozen layer one
fully connected layer in the place of convolutions. The test set is read once, after the last epoch. Linear readers
behind each layer tell what it has kept of the classes.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from snntorch_brp.depth.outcome import Outcome
from snntorch_brp.depth.recipes import BESIDE, RECIPES
from snntorch_brp.depth.settings import SETTINGS, Setting
from snntorch_brp.depth.trainings import PROBED, DepthTrainings, Stage
from snntorch_brp.depth.wide import WIDE_GRID
from snntorch_brp.label_only.folds import folds
from snntorch_brp.paper.datasets import CIFAR10, MNIST, DatasetInUse
from snntorch_brp.paper.lab import Lab, NotFinishedError
from snntorch_brp.paper.report import Result
from snntorch_brp.paper.style import Row, format_mean, mean_and_spread
from snntorch_brp.tasks.protocol import FrozenConv, Protocol
from snntorch_brp.tasks.registry import TASKS

DATASETS = (CIFAR10, MNIST)


def reproduce(lab: Lab) -> Result:
    """Run the study on every task that there is data for; of a finished store, show what there is."""
    studies = [(dataset, _study(lab, dataset)) for dataset in lab.datasets(*DATASETS)]
    shown = [(dataset, rows) for dataset, rows in studies if rows]
    if not shown:
        raise NotFinishedError(f"{lab.out} holds no finished training of this study: leave out --finished")
    figure, axes = plt.subplots(len(shown), 2, figsize=(12, 3.8 * len(shown)), layout="constrained", squeeze=False)
    for (lines, bars), (dataset, rows) in zip(axes, shown, strict=True):
        whole = [row for row in rows if row["stage"] == "whole"]
        lines.set_title(f"{dataset.label}\n{rows[0]['network']}, T = {rows[0]['T']}", fontsize=9)
        _draw_curves(lines, whole)
        _draw_readers(bars, whole)
    notes = [
        "Trials choose: one seed, the validation part. Test: read once, after the last epoch. Seconds "
        "are of the processor, validation included; running a frozen layer over all images once is the same for all "
        "that stand behind it, and not counted. Linear readers (ridge regression from rates, those of convolutions "
        "pooled to 4x4) learn from at most "
        f"{PROBED:,} training samples and are judged on the validation part.",
        *lab.left_out(*DATASETS),
    ]
    verdict = [_verdict(dataset, rows) for dataset, rows in studies]
    every = [row for _, rows in shown for row in rows]
    return Result("depth", "convolutions that learn from the label alone", figure, every, verdict, notes)


def _study(lab: Lab, dataset: DatasetInUse) -> list[Row]:
    """The trials of a task, best first; the whole trainings of the rule that they choose and of what is beside it."""
    setting = SETTINGS[dataset.task][lab.budget.name]
    trainings = depth_trainings(lab, dataset, setting)
    about = _about(dataset, trainings)
    names = [name for name, recipe in RECIPES.items() if setting.flat or not recipe.flat]
    trials = {name: done for name in names if (done := _finished(trainings, name, [0], "trial"))}
    rows = [
        {**about, **_row(name, done, "trial", setting.trial_epochs)}
        for name, done in sorted(trials.items(), key=lambda item: -item[1][0].validation)
    ]
    best = chosen({name: done for name, (done,) in trials.items()})
    for name, (epochs, done) in _whole(trainings, names, best, lab.seeds(dataset)).items():
        network = {"network": setting.flat} if RECIPES[name].flat else {}
        rows.append({**about, **network, **_row(name, done, "whole", epochs)})
    with suppress(NotFinishedError):
        what = f"{setting.wide} whitened patches of both polarities, frozen, pooled to {WIDE_GRID}x{WIDE_GRID}"
        wide = {"network": what, "augmentation": "none"}
        rows.append({**about, **wide, **_row("wide", [trainings.wide()], "wide", 1)})
    return rows if best is None else rows + _levers(lab, dataset, setting, best)


def depth_trainings(lab: Lab, dataset: DatasetInUse, setting: Setting) -> DepthTrainings:
    """The trainings of a setting, with its data read."""
    # of the protocol the split reads no more than the number of steps
    protocol = Protocol(conv=FrozenConv(channels=1, kernel=1, pool=1), epochs=1, steps=setting.steps)
    (fold,) = folds(lab, dataset, protocol, validation=setting.validation)
    return DepthTrainings(lab, setting, fold, TASKS[dataset.task].input_shape)


def _about(dataset: DatasetInUse, trainings: DepthTrainings) -> Row:
    setting, fold = trainings.setting, trainings.fold
    return {
        "source": "measured",
        "data": dataset.label,
        "split": f"{fold.split}; {fold.sizes}",
        "network": setting.network,
        "T": setting.steps,
        "batch": setting.batch_size,
        "lr": f"{setting.lr:g} cosine",
        "augmentation": setting.augment or ("mirror images" if setting.mirrored else "none"),
    }


def _levers(lab: Lab, dataset: DatasetInUse, setting: Setting, best: str) -> list[Row]:
    """What each change alone gives to a trial of the best rule."""
    rows = []
    for words in setting.levers:
        other = setting.changed(words)
        trainings = depth_trainings(lab, dataset, other)
        if done := _finished(trainings, best, [0], "trial"):
            about = _about(dataset, trainings)
            rows.append({**about, **_row(best, done, "lever", other.trial_epochs), "rule": words})
    return rows


def _whole(
    trainings: DepthTrainings, names: Sequence[str], best: str | None, seeds: Iterable[int]
) -> dict[str, tuple[int, list[Outcome]]]:
    """Epochs and trainings by name: of the best rule, and beside it for about as many seconds; a seed of all, the next.

    Where no trial tells what to take, and so how long, all that is stored for as many epochs.
    """
    beside = [name for name in names if name != best and (best is None or name in BESIDE)]
    epochs = dict.fromkeys(names, trainings.setting.epochs)
    found: dict[str, tuple[int, list[Outcome]]] = {}
    for seed in seeds:
        for name in beside if best is None else (best, *beside):
            for outcome in _finished(trainings, name, [seed], "whole", epochs[name]):
                found.setdefault(name, (epochs[name], []))[1].append(outcome)
            if name == best and seed == 0 and name in found:
                seconds = sum(found[name][1][0].seconds)
                for other in beside:
                    with suppress(NotFinishedError):
                        epochs[other] = trainings.epochs_in(seconds, other)
    return found


def _finished(
    trainings: DepthTrainings, name: str, seeds: Iterable[int], stage: Stage, epochs: int | None = None
) -> list[Outcome]:
    """The trainings of all seeds, without those that are not finished where nothing is to be trained."""
    found = []
    for seed in seeds:
        with suppress(NotFinishedError):
            found.append(trainings.train(name, seed=seed, stage=stage, epochs=epochs))
    return found


def chosen(trials: Mapping[str, Outcome]) -> str | None:
    """The label-only rule that was the most accurate on the validation part; None where none was tried."""
    competing = [name for name in trials if RECIPES[name].competes]
    return max(competing, key=lambda name: trials[name].validation, default=None)


def _row(name: str, found: Sequence[Outcome], stage: str, epochs: int) -> Row:
    """One line: of all seeds of a training."""
    tests = [outcome.test for outcome in found if outcome.test is not None]
    accuracy, sd = mean_and_spread(tests) if tests else (None, None)
    return {
        "stage": stage,
        "rule": RECIPES[name].title if name in RECIPES else "linear reader",
        "label only": RECIPES[name].label_only if name in RECIPES else False,
        "epochs": epochs,
        "seeds": len(found),
        "validation": statistics.fmean(outcome.validation for outcome in found),
        "accuracy": accuracy,
        "sd": sd,
        "seconds": statistics.fmean(sum(outcome.seconds) for outcome in found),
        "linear readers": {
            layer: round(statistics.fmean(outcome.probe[layer] for outcome in found), 2) for layer in found[0].probe
        },
        "validation accuracy by epoch": [round(accuracy, 2) for _, accuracy in found[0].curve],
        "device": found[0].machine,
    }


def _verdict(dataset: DatasetInUse, rows: Sequence[Row]) -> str:
    """How far the label alone goes, and what stands beside it."""
    if not rows:
        return f"{dataset.label}: not run."
    said = [_words(row) for row in rows if row["accuracy"] is not None]
    tried, levers = (
        [f"{row['rule']} {row['validation']:.1f} ({row['seconds']:.0f} s)" for row in rows if row["stage"] == stage]
        for stage in ("trial", "lever")
    )
    known = {RECIPES[name].title for name in BESIDE if not RECIPES[name].flat}
    missing = sorted(known - {row["rule"] for row in rows if row["stage"] == "whole"})
    parts = [
        f"{dataset.label}: test accuracy: {', '.join(said) or 'not run'}",
        *([f"not run: {', '.join(missing)}"] if missing else []),
        f"trials, in validation: {', '.join(tried)}" if tried else "trials: not run",
        *([f"of the best one with a change: {', '.join(levers)}"] if levers else []),
    ]
    return "; ".join(parts)


def _words(row: Row) -> str:
    accuracy = format_mean(row["accuracy"], row["sd"], 1, unit=" %")
    if row["stage"] == "wide":
        return f"{row['rule']} on {row['network']}: {accuracy} ({row['seconds']:.0f} s)"
    readers = ", ".join(f"{value:.1f}" for value in row["linear readers"].values())
    return f"{row['rule']} {accuracy} ({row['epochs']} epochs, {row['seconds']:.0f} s; readers {readers})"


def _draw_curves(ax: Axes, whole: Sequence[Row]) -> None:
    """Validation accuracy after every epoch, over the seconds of the processor."""
    for row in whole:
        curve = row["validation accuracy by epoch"]
        seconds = [row["seconds"] * (place + 1) / len(curve) for place in range(len(curve))]
        ax.plot(seconds, curve, marker="o", ms=3, label=row["rule"], color=_color(row))
    ax.set(xlabel="seconds of the processor", ylabel="accuracy in validation, %")
    ax.grid(alpha=0.3)
    if whole:
        ax.legend(fontsize=8)


def _draw_readers(ax: Axes, whole: Sequence[Row]) -> None:
    """What a linear reader reads behind each layer."""
    for row in whole:
        layers = row["linear readers"]
        names = [name.removesuffix("_lif") for name in layers]
        ax.plot(names, layers.values(), marker="s", ms=4, label=row["rule"], color=_color(row))
    ax.set(ylabel="linear reader, validation, %")
    ax.set_title("what each layer has kept of the classes", fontsize=9)
    ax.grid(alpha=0.3)


def _color(row: Row) -> str:
    beside = {RECIPES["backprop"].title: "#333333", RECIPES["rest"].title: "#999999", RECIPES["flat"].title: "#ff7f0e"}
    return beside.get(row["rule"], "#9467bd")
