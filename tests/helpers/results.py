"""What a command leaves, to be compared with what another leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from snntorch_brp import load


def of_train(run: Path) -> Any:
    """What a training leaves: its result, its metrics, its weights."""
    return json.loads((run / "test.json").read_text()), (run / "metrics.jsonl").read_text(), load(run).net.state_dict()


def of_reproduce(out: Path) -> Any:
    """What fig7 leaves: its numbers, and the stored trainings but for the seconds that they took."""
    stored = {}
    for path in sorted((out / "runs").iterdir()):
        run = json.loads(path.read_text())
        epochs = [{key: value for key, value in row.items() if "seconds" not in key} for row in run["epochs"]]
        stored[path.name] = epochs, run["found"]
    return (out / "fig7.csv").read_text(), stored, sorted(path.name for path in out.iterdir())


def same(one: Any, other: Any) -> bool:
    """Whether two of them are equal, bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return all(map(same, one, other))
    return bool(one == other)
