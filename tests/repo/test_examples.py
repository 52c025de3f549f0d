"""The examples run as they stand, on small settings."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import matplotlib
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_example_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    assert (EXAMPLES / name).read_text().startswith("# %% [markdown]\n# # "), "percent format: opens as a notebook"
    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, "--quick"])
    try:
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    except SystemExit as end:
        if "pip install" not in str(end):
            raise
        pytest.skip(str(end))
    printed = capsys.readouterr().out
    assert re.search(r"\d", printed)  # each measures something
    written = {path.name for path in tmp_path.glob("*.png")}
    assert set(re.findall(r"figure: (\S+)", printed)) == written


def test_events_are_learned_without_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, caplog) -> None:
    """Chance is 25 %; both rules come near 100 % of 32 simulated recordings, and no layer is silent."""
    pytest.importorskip("tonic", reason="tonic is not installed: pip install 'snntorch-brp[events]'")
    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["events.py"])
    runpy.run_path(str(EXAMPLES / "events.py"), run_name="__main__")
    found = re.findall(r"(\w+): accuracy (\S+)%", capsys.readouterr().out)
    assert [rule for rule, _ in found] == ["Backprop", "RewardPrediction"]
    assert all(float(accuracy) > 75 for _, accuracy in found)
    assert not caplog.records


def test_benchmark_of_attaching_measures(capsys) -> None:
    benchmark = runpy.run_path(str(EXAMPLES.with_name("benchmarks") / "attach_step.py"))
    for rule in ("BPTT, nothing attached", "BRP"):
        assert benchmark["measure"](rule, batch=2, steps=2, repeats=1)["seconds"] > 0
