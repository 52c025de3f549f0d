"""The examples run as they stand, on small settings."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import matplotlib
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
RUNS = {
    "mnist_dense.py": ["--quick"],
    "mnist_conv.py": ["--quick"],
    "events.py": ["--quick"],
    "propagations.py": ["--quick"],
    "custom_rule.py": ["--quick"],
    "consolidations.py": ["--epochs=1", "--hidden=10", "--steps=4"],
    "shifting_learning.py": None,  # has tests of its own
    "online.py": ["--quick"],
}


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_example_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    arguments = RUNS[name]
    if arguments is None:
        pytest.skip("run by the tests of what it shows")
    assert (EXAMPLES / name).read_text().startswith("# %% [markdown]\n# # "), "percent format: opens as a notebook"
    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    assert "%" in capsys.readouterr().out


def test_benchmark_of_attaching_measures(capsys) -> None:
    benchmark = runpy.run_path(str(EXAMPLES / "benchmarks" / "attach_step.py"))
    for rule in ("BPTT, nothing attached", "BRP"):
        assert benchmark["measure"](rule, batch=2, steps=2, repeats=1)["seconds"] > 0
