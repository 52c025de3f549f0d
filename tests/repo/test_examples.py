"""The examples run as they stand, on small settings."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from scripts import run_with

EXAMPLES = Path(__file__).parents[2] / "examples"

# of each example: smaller settings, and what it prints of what it has measured
RUNS: dict[str, tuple[dict[str, Any], str]] = {
    "consolidations": ({"hidden": 10, "steps": 4, "epochs": 1}, r"DifferentialHebb( +\d+\.\d%){3}"),
    "custom_rule": ({"hidden": 30, "steps": 5, "epochs": 1}, "S-TLLR: .*the same as the ready made rule: True"),
    "events": ({"samples": 4, "steps": 8, "epochs": 1}, r"RewardPrediction: accuracy \d"),
    "lightning_manual": ({}, r"accuracy.*\d"),
    "look_inside": ({"epochs": 1}, r"epoch 1, TP_err +\d+°"),
    "mnist_conv": ({"steps": 5, "epochs": 1}, r"RewardPrediction: accuracy \d"),
    "mnist_dense": ({"num_hidden": 50, "num_steps": 10, "epochs": 1}, r"reward propagation: +\d+\.\d%"),
    "online": ({"batch": 2, "lengths": (2, 4)}, r"full +\d+ +\d+ +\d+% apart"),
    "propagations": ({"hidden": 30, "steps": 5, "epochs": 2}, r"OutputOnly +\d+\.\d%"),
    "regression": ({"epochs": 1}, r"backprop +0\.\d{4}"),
    "shifting_learning": ({}, "random feedback: 100% right"),
}


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_example_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    script, (settings, shown) = EXAMPLES / f"{name}.py", RUNS[name]
    assert script.read_text().startswith("# %% [markdown]\n# # "), "percent format: opens as a notebook"
    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(script)])
    try:
        run_with(script, settings)
    except SystemExit as end:
        if "pip install" not in str(end):
            raise
        pytest.skip(str(end))
    printed = capsys.readouterr().out
    assert re.search(shown, printed), printed
    written = {path.name for path in tmp_path.glob("*.png")}
    assert set(re.findall(r"figure: (\S+)", printed)) == written


def test_events_are_learned_without_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, caplog) -> None:
    """Chance is 25 %; both rules come near 100 % of 32 simulated recordings, and no layer is silent."""
    pytest.importorskip("tonic", reason="tonic is not installed: pip install 'snntorch-brp[events]'")
    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    run_with(EXAMPLES / "events.py", {})
    found = re.findall(r"(\w+): accuracy (\S+)%", capsys.readouterr().out)
    assert [rule for rule, _ in found] == ["Backprop", "RewardPrediction"]
    assert all(float(accuracy) > 75 for _, accuracy in found)
    assert not caplog.records


def test_benchmark_of_attaching_measures() -> None:
    script = EXAMPLES.with_name("benchmarks") / "attach_step.py"
    sizes = ["--batch", "2", "--steps", "2", "--repeats", "1"]
    for rule in ("BPTT, nothing attached", "BRP"):
        command = [sys.executable, str(script), "--measure", rule, *sizes]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout)["seconds"] > 0
