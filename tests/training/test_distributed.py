"""Several gloo processes do what one does, share the data without overlap, and end, or go on, when one dies."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from snntorch_brp import Backprop, ErrorProjection
from snntorch_brp.models import mlp
from snntorch_brp.training import rate_mse
from snntorch_brp.training.pipeline import Head, Pipeline, split

SCRIPT = Path(__file__).parents[1] / "helpers" / "together.py"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("together")
    done = subprocess.run([sys.executable, str(SCRIPT), str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def state(folder: Path, rank: int = 0) -> dict[str, dict[str, torch.Tensor]]:
    return torch.load(folder / f"rank{rank}.pt", weights_only=True)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("engine", ["attach", "fused"])
def test_several_processes_learn_what_one_does(runs: Path, engine: str, count: int) -> None:
    """Same batches, same noise, weighted means of gradients: float32 sums in another order are all that differs.

    The runs have 18 steps; rounding of 1e-7 in a weight may flip no spike of these, so it stays rounding.
    """
    alone, together = state(runs / engine / "1")["net"], state(runs / engine / str(count))["net"]
    for name, weight in alone.items():
        torch.testing.assert_close(together[name], weight, rtol=1e-4, atol=1e-5)
    one, several = (
        [json.loads(line) for line in (runs / engine / str(n) / "metrics.jsonl").read_text().splitlines()]
        for n in (1, count)
    )
    for first, second in zip(one, several, strict=True):
        assert first == pytest.approx(second, rel=1e-5)


def test_a_rule_that_needs_the_output_is_shared_too(runs: Path) -> None:
    for name, weight in state(runs / "error" / "1")["net"].items():
        torch.testing.assert_close(state(runs / "error" / "2")["net"][name], weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [2, 3])
def test_all_processes_hold_the_same_bits(runs: Path, count: int) -> None:
    first, *others = [state(runs / "fused" / str(count), rank) for rank in range(count)]
    assert len(first["feedback"]) == 3  # two matrices and the seed
    for other in others:
        for part in ("net", "feedback"):
            assert all(torch.equal(value, other[part][key]) for key, value in first[part].items())


@pytest.mark.parametrize("count", [2, 3])
def test_a_pipeline_of_layers_learns_the_same_bits(runs: Path, count: int) -> None:
    """Nothing is out of date and nothing is added up in another order, so not even rounding differs."""
    alone, pipeline = state(runs / "pipeline" / "1"), state(runs / "pipeline" / str(count))
    assert pipeline["losses"] == alone["losses"]
    assert len(alone["losses"]) == 18
    assert all(torch.equal(value, pipeline["net"][key]) for key, value in alone["net"].items())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bfloat16, torch.float32, torch.float64, torch.bool])
@pytest.mark.parametrize("sample", [(), (12,), (3, 8, 8)])
def test_a_pipeline_hands_on_spikes_of_any_dtype(dtype: torch.dtype, sample: tuple[int, ...]) -> None:
    """Which one it is depends on the processor: bytes, or bfloat16 where there are matrix units."""
    head = Head(dtype, (7, 4, 16), sample)
    assert Head.unpack(head.pack(torch.device("cpu"))) == head
    assert Head.unpack(torch.zeros_like(head.pack(torch.device("cpu")))) is None


@pytest.mark.parametrize("rule", [ErrorProjection(), Backprop()])
def test_a_rule_that_waits_for_the_output_has_no_pipeline(rule: object) -> None:
    with pytest.raises(ValueError, match="label-only"):
        Pipeline(
            mlp([4, 5, 3]),
            num_classes=3,
            optimizer=torch.optim.Adam,
            loss=rate_mse,
            propagation=rule,  # type: ignore[arg-type]
        )


def test_stages_must_fit_the_layers() -> None:
    with pytest.raises(ValueError, match="each needs at least one"):
        split(2, 3)
    with pytest.raises(ValueError, match="5 layers"):
        split(5, 2, (2, 2))


def test_a_process_that_dies_ends_the_job(runs: Path) -> None:
    code, dead, seconds = map(int, (runs / "dead.txt").read_text().split())
    assert dead == -9
    assert code == 1
    assert seconds < 60


def test_the_job_goes_on_from_its_checkpoint(runs: Path) -> None:
    for name, weight in state(runs / "fused" / "2")["net"].items():
        assert torch.equal(state(runs / "dead")["net"][name], weight)
    whole, resumed = ((runs / name / "metrics.jsonl").read_bytes() for name in ("fused/2", "dead"))
    assert whole == resumed


@pytest.mark.slow
def test_torchrun_starts_again_after_a_death(runs: Path, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, "--max-restarts", "1", str(SCRIPT), str(tmp_path)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "failed (exitcode: " in done.stderr  # of the one that was killed, or of the one that was left alone
    for name, weight in state(runs / "fused" / "2")["net"].items():
        assert torch.equal(state(tmp_path)["net"][name], weight)
