"""The examples run as they stand, on small settings."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import matplotlib
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
# Settings under which an example is quick; those that are not here run as they are.
SMALL = {
    "mnist_dense.py": ["--quick"],
    "mnist_conv.py": ["--quick"],
    "events.py": ["--quick"],
    "propagations.py": ["--quick"],
    "custom_rule.py": ["--quick"],
    "online.py": ["--quick"],
    "consolidations.py": ["--epochs=1", "--hidden=10", "--steps=4"],
}


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_example_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    assert (EXAMPLES / name).read_text().startswith("# %% [markdown]\n# # "), "percent format: opens as a notebook"
    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, *SMALL.get(name, [])])
    try:
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    except SystemExit as end:
        if "pip install" not in str(end):
            raise
        pytest.skip(str(end))
    assert capsys.readouterr().out


def test_benchmark_of_attaching_measures(capsys) -> None:
    benchmark = runpy.run_path(str(EXAMPLES / "benchmarks" / "attach_step.py"))
    for rule in ("BPTT, nothing attached", "BRP"):
        assert benchmark["measure"](rule, batch=2, steps=2, repeats=1)["seconds"] > 0
