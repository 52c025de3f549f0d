"""Fixtures that several tests use."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

import matplotlib
import pytest
import torch
from matplotlib.figure import Figure
from mutate import Tell

_END = time.monotonic() + 60 * float(os.environ.get("HOSTILE_MINUTES", "60"))

torch.set_num_threads(1)  # tests run side by side


@pytest.fixture(scope="module")
def blank_figures() -> Iterator[None]:
    """Figures are made, but written blank: drawing takes most of the time of a run that is not about them."""

    def blank(self: Figure, file: BinaryIO, **options: object) -> None:
        file.write(b"blank")

    matplotlib.use("agg")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", blank)
        yield


@pytest.fixture
def seconds(request: pytest.FixtureRequest) -> float:
    """How long a generator of the hostile trial goes on: its share, by weight, of what is left of HOSTILE_MINUTES."""
    items = request.session.items
    marks = [item.get_closest_marker("hostile") for item in items[items.index(request.node) :]]
    own, *others = (mark.kwargs.get("weight", 1.0) for mark in marks if mark is not None)
    return max(_END - time.monotonic(), 0.0) * own / (own + sum(others))


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """Keeps how many cases a generator tried, for the end of the report: ``tell(generator, cases, found)``."""
    return lambda generator, cases, found: record_property("hostile", (generator, cases, found))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the hostile trial tried."""
    reports = [report for found in terminalreporter.stats.values() for report in found if hasattr(report, "when")]
    told = [value for r in reports if r.when == "call" for key, value in r.user_properties if key == "hostile"]
    if told:
        terminalreporter.section(f"hostile trial: {sum(cases for _, cases, _ in told):,} cases")
    for generator, cases, found in told:
        terminalreporter.write_line(f"{generator}: {cases:,} cases, {found}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked ``gpu`` are skipped where there is no CUDA device."""
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="no CUDA device")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)
