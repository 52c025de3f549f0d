"""Every rule on every course: learning rates chosen on a validation part, then the test accuracy of three seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from snntorch_brp.paper.lab import Lab, NotFinishedError
from snntorch_brp.paper.report import Result
from snntorch_brp.paper.style import Row, format_mean, mean_and_spread
from snntorch_brp.rule_study.courses import COURSES, VALIDATION, Amount, Course, data_of
from snntorch_brp.rule_study.entries import ENTRIES, Entry
from snntorch_brp.rule_study.trainings import CourseTrainings, Outcome
from snntorch_brp.tasks.registry import TASKS

COLORS = {True: "#9467bd", False: "#666666"}  # of local rules, and of others


def reproduce(lab: Lab) -> Result:
    """Run the study on every course that there is data for."""
    found = lab.folders(*(course.task for course in COURSES))
    courses = [course for course in COURSES if course.task in found]
    missing: dict[str, list[str]] = {course.name: [] for course in courses}
    studies = [(course, _study(lab, course, trainings_of(lab, course), missing[course.name])) for course in courses]
    studies = [(course, rows) for course, rows in studies if rows]
    if not studies:
        raise NotFinishedError(f"{lab.out} holds no finished training of this study: leave out --finished")
    figure, axes = plt.subplots(1, len(studies), figsize=(4.2 * len(studies), 7), layout="constrained", squeeze=False)
    for ax, (course, rows) in zip(axes[0], studies, strict=True):
        _draw(ax, course, rows)
    all_missing = {course.name for course in courses} - {course.name for course, _ in studies}
    left_out = [
        f"{name}: {'all' if name in all_missing else ', '.join(titles)}" for name, titles in missing.items() if titles
    ]
    notes = [
        "Hidden layers' learning rate: of the course's (two each) the one with the best accuracy on the validation "
        f"part ({VALIDATION:.0%} of the training samples, never trained on), seed 0; that of the output is one for all "
        "rules of a course. Test: after the last epoch; of trainings at other rates the test accuracy is stored and "
        "not looked at. Seeds differ in weights, feedback, order and encoding. First weights are scaled on samples "
        "without labels, so that every layer fires.",
        "Milliseconds a step are processor time on whatever else the machine was doing; benchmarks/rules.py measures "
        "costs.",
        *([f"Not finished, and left out: {'; '.join(left_out)}."] if left_out else []),
        *(f"{c.name}: left out, no data; name the folder with --data" for c in COURSES if c not in courses),
    ]
    every_row = [row for _, rows in studies for row in rows]
    verdict = [_verdict(course, rows) for course, rows in studies]
    return Result("rules", "the rules by name, on the same networks and data", figure, every_row, verdict, notes)


def trainings_of(lab: Lab, course: Course) -> CourseTrainings:
    """A course's trainings under a budget."""
    budget = lab.budget
    amount = course.quick
    if budget.name != "quick":
        amount = Amount(budget.epochs, budget.batch_size, train=budget.train, test=budget.test)
    elif budget.same_epochs:
        amount = replace(amount, epochs=budget.epochs)
    data = data_of(course, lab.folders(course.task)[course.task], amount, device=lab.device)
    return CourseTrainings(lab.out / "runs", course, data, amount, device=lab.device, finished=lab.finished)


def _study(lab: Lab, course: Course, trainings: CourseTrainings, missing: list[str]) -> list[Row]:
    """A row for each rule, best first; what is not finished is named in ``missing``."""
    data, amount = trainings.data, trainings.amount
    about: Row = {
        "source": "measured",
        "data": TASKS[course.task].short_title,
        "split": f"{data.split}; {len(data.learn)} training, {len(data.validation)} validation, {len(data.test)} test",
        "network": course.network.format(inputs=data.shape[0], classes=data.classes),
        "T": course.steps,
        "epochs": amount.epochs,
        "batch": amount.batch_size,
        "output lr": course.output_lr,
    }
    rows = []
    for name, entry in ENTRIES.items():
        if (entry.one_hidden_layer and course.depth > 1) or (entry.flat and course.channels):
            continue
        try:
            trials = {lr: trainings.train(name, entry, lr, 0) for lr in course.rates[: None if entry.learns else 1]}
        except NotFinishedError:
            missing.append(entry.title)
            continue
        lr = max(trials, key=lambda lr: trials[lr].validation)
        outcomes = [trials[lr]]
        for seed in range(1, lab.budget.seeds):
            try:
                outcomes.append(trainings.train(name, entry, lr, seed))
            except NotFinishedError:
                missing.append(f"{entry.title}, seed {seed}")
        rows.append({**about, **_summary(name, entry, lr, outcomes)})
    return sorted(rows, key=lambda row: row["accuracy"], reverse=True)


def _summary(name: str, entry: Entry, lr: float, outcomes: Sequence[Outcome]) -> Row:
    mean, spread = mean_and_spread(outcome.test for outcome in outcomes)
    return {
        "name": name,
        "rule": entry.title,
        "local": entry.local,
        "seeds": len(outcomes),
        "lr": lr,
        "accuracy": mean,
        "sd": spread,
        "validation": statistics.fmean(outcome.validation for outcome in outcomes),
        "ms a step": statistics.median(outcome.step_ms for outcome in outcomes),
        "device": outcomes[0].machine,
    }


def _verdict(course: Course, rows: Sequence[Row]) -> str:
    first = rows[0]
    listed = ", ".join(f"{row['rule']} {format_mean(row['accuracy'], row['sd'], 1)}" for row in rows)
    return f"{first['data']} ({first['network']}, T = {first['T']}; {first['split']}): {listed} %."


def _draw(ax: Axes, course: Course, rows: Sequence[Row]) -> None:
    """A bar for each rule, the best on top; dotted, what hidden layers at rest reach."""
    rows = list(reversed(rows))
    ax.barh(
        [row["rule"] for row in rows],
        [row["accuracy"] for row in rows],
        xerr=[row["sd"] for row in rows],
        color=[COLORS[row["local"]] for row in rows],
        alpha=0.75,
    )
    for row in rows:
        if row["name"] == "output-only":
            ax.axvline(row["accuracy"], color="black", linestyle=":", linewidth=1)
    ax.set_xlabel("test accuracy, %")
    ax.set_title(f"{rows[0]['data']}, T = {course.steps}\n{rows[0]['network'].split(' of ')[0]}", fontsize=9)
    ax.tick_params(axis="y", labelsize=8)
