"""The benchmark runs, and says which neighbours are missing."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "train_step.py"


def test_two_contenders_take_turns(tmp_path):
    command = [sys.executable, str(SCRIPT), "--study", "small", "--rounds", "2", "--threads", "1"]
    command += ["--contenders", "snnTorch BPTT", "fused BRP", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=SCRIPT.parents[1])
    assert done.returncode == 0, done.stderr
    assert "| net=small steps=5 batch=10 | fused BRP |" in done.stdout
    with (tmp_path / "small.csv").open() as file:
        peer, ours = csv.DictReader(file)
    assert float(peer["times_faster"]) == 1.0  # the only peer is the fastest
    assert float(ours["ms"]) > 0
    assert (tmp_path / "small.png").stat().st_size > 1000


def test_the_parts_of_a_step_stand_beside_its_bare_products():
    command = [sys.executable, str(SCRIPT.with_name("floor.py")), "--net", "small", "--steps", "5", "--rounds", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=SCRIPT.parents[1])
    assert done.returncode == 0, done.stderr
    lines = (line.strip("|").split("|") for line in done.stdout.splitlines() if line.startswith("|"))
    table = {name.strip(): [float(cell) for cell in cells if cell.strip()] for name, *cells in list(lines)[2:]}
    # medians of two are means, and add up but for the rounding of eight numbers to 0.1
    assert abs(sum(cells[0] for cells in table.values()) - 2 * table["step"][0]) < 0.5
    assert table["convolutions"] == [0.0]
    assert len(table["step"]) == 4


def test_what_needs_a_gpu_tries_its_logic_without_one(tmp_path):
    script, rows = SCRIPT.with_name("gpu.py"), tmp_path / "gpu.json"
    command = [sys.executable, str(script), "--dry-run", "--out", str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=SCRIPT.parents[1])
    assert done.returncode == 0, done.stderr
    found = json.loads(rows.read_text())
    assert found["device"] == "CPU, dry run"
    parts = {row["what"].split(",")[0] for row in found["rows"]}
    assert parts == {"copy", "neurons", "step", "captured", "memory", "events", "gloo"}
    assert not any("remark" in row for row in found["rows"])
    assert all(row["ms"] > 0 for row in found["rows"] if "ms" in row)
