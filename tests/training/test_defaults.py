"""Where a run's weights start: as torch draws them, or calibrated, so that every layer fires."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset

from snntorch_brp.cli import main
from snntorch_brp.runs.assemble import CALIBRATED, start_trainer
from snntorch_brp.runs.config import RunConfig
from snntorch_brp.sequence import observe, unroll
from snntorch_brp.tasks.base import TrainTest
from snntorch_brp.training import BRPTrainer
from snntorch_brp.training.checkpoint import read_checkpoint

MNIST = RunConfig(
    task="mnist", data=None, model="Conv5x5x28-S2-FC1000-FC10", propagation="brp", steps=10, alpha=1.0, epochs=1,
    lr=1e-3, schedule="cosine", batch_size=50, seed=0, device="cpu", weights="calibrated",
)  # fmt: skip
SMALL = ["train", "digits", "--model", "64-20-10", "--epochs", "1", "--steps", "4", "--limit-train", "60"]
SMALL += ["--limit-test", "40", "--no-tensorboard"]


def blots() -> TrainTest:
    """Dark images with a bright square somewhere in each: as sparse as handwritten digits."""
    generator = torch.Generator().manual_seed(0)
    images = torch.zeros(CALIBRATED + 10, 1, 28, 28)
    corners = torch.randint(4, 16, (len(images), 2), generator=generator).tolist()
    for image, (row, column) in zip(images, corners, strict=True):
        image[0, row : row + 8, column : column + 8] = 0.9
    samples = TensorDataset(images, torch.randint(10, (len(images),), generator=generator))
    return TrainTest(samples, samples, "none")


def rates(trainer: BRPTrainer) -> dict[str, float]:
    """Mean rate of each layer, on samples that the start was not calibrated on."""
    assert trainer.encoder is not None
    x = trainer.encoder(blots().train[CALIBRATED:][0])
    seen = observe(trainer.net, lambda: unroll(trainer.net, x))
    return {name: float(layer.spikes.mean()) for name, layer in seen.items()}


def test_calibrated_all_layers_of_the_paper_s_network_fire() -> None:
    fired = rates(start_trainer(MNIST, blots()))
    assert list(fired) == ["conv1_lif", "fc1_lif", "fc2_lif"]
    assert all(0.03 < rate < 0.3 for rate in fired.values()), fired
    assert rates(start_trainer(replace(MNIST, weights="torch"), blots()))["fc2_lif"] == 0  # what this is for


def test_a_start_follows_from_the_seed_and_leaves_other_random_numbers_alone() -> None:
    def started(**changes: object) -> tuple[BRPTrainer, torch.Tensor]:
        trainer = start_trainer(replace(MNIST, model="784-20-10", **changes), blots())  # type: ignore[arg-type]
        return trainer, torch.rand(5)

    first, drawn = started()
    same, again = started(propagation="backprop")
    other, _ = started(seed=1)
    plain, after = started(weights="torch")
    assert all(torch.equal(p, q) for p, q in zip(first.net.parameters(), same.net.parameters(), strict=True))
    assert not torch.equal(next(first.net.parameters()), next(other.net.parameters()))
    assert not torch.equal(next(first.net.parameters()), next(plain.net.parameters()))
    assert torch.equal(drawn, after)  # order and encoding do not depend on the start
    assert torch.equal(drawn, again)
    assert torch.equal(first.attached.feedback.seed, plain.attached.feedback.seed)


@pytest.mark.parametrize(("rule", "usual"), [("output-only", "calibrated"), ("brp", "torch")])
def test_layers_that_never_learn_are_calibrated(rule: str, usual: str, tmp_path: Path) -> None:
    assert main([*SMALL, "--propagation", rule, "--out", str(tmp_path / "usual")]) == 0
    assert RunConfig.read(tmp_path / "usual").weights == usual
    other = "torch" if usual == "calibrated" else "calibrated"
    assert main([*SMALL, "--propagation", rule, "--weights", other, "--out", str(tmp_path / "other")]) == 0
    first, second = (read_checkpoint(tmp_path / run / "model.pt") for run in ("usual", "other"))
    assert not torch.equal(first["network"]["fc1.weight"], second["network"]["fc1.weight"])


def test_a_run_that_does_not_say_started_as_torch_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main([*SMALL, "--out", str(run)]) == 0
    settings = json.loads((run / "config.json").read_text())
    assert settings.pop("weights") == "torch"
    (run / "config.json").write_text(json.dumps(settings))
    old = RunConfig.read(run)
    assert old.weights == "torch"
    assert "weights" not in old.key()  # stored trainings keep their names
    assert replace(old, weights="calibrated").key()["weights"] == "calibrated"
    accuracy = capsys.readouterr().out.split("test ")[1].splitlines()[0]
    assert main(["evaluate", str(run)]) == 0
    assert accuracy in capsys.readouterr().out
    assert main([*SMALL, "--out", str(run), "--resume"]) == 0
    assert main([*SMALL, "--out", str(run), "--resume", "--weights", "calibrated"]) == 1
    assert "weights='torch', and not 'calibrated'" in capsys.readouterr().err


def test_several_processes_start_alike(tmp_path: Path) -> None:
    """What they learn together is what one process learns, to rounding."""
    command = [*SMALL, "--weights", "calibrated"]
    assert main([*command, "--out", str(tmp_path / "one")]) == 0
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "snntorch_brp"]
    two = str(tmp_path / "two")
    done = subprocess.run([sys.executable, *torchrun, *command, "--out", two], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    alone, together = (read_checkpoint(tmp_path / run / "model.pt") for run in ("one", "two"))
    for name, weight in alone["network"].items():
        torch.testing.assert_close(together["network"][name], weight, rtol=1e-4, atol=1e-5)
