"""The study of depth: what is stored and gone on with, what chooses, and that readers are what they say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from snntorch_brp.depth import study
from snntorch_brp.depth.outcome import Outcome, read_outcome
from snntorch_brp.depth.probes import LinearReader
from snntorch_brp.depth.recipes import RECIPES
from snntorch_brp.depth.settings import SETTINGS, Setting
from snntorch_brp.depth.trainings import DepthTrainings
from snntorch_brp.encoding import DirectEncoder
from snntorch_brp.label_only.folds import Fold
from snntorch_brp.paper.budgets import BUDGETS
from snntorch_brp.paper.datasets import MNIST
from snntorch_brp.paper.lab import Lab, NotFinishedError
from snntorch_brp.tasks.registry import TASKS
from snntorch_brp.training.checkpoint import Checkpoints

TINY = Setting(
    network="Conv3x3x2-BN-M2-FC20-BN", epochs=2, trial_samples=20, trial_epochs=1, batch_size=20, wide=4, augment="crop"
)
FROZEN = replace(
    TINY,
    network="Conv3x3x4-BN-M2-Conv3x3x4-BN-M2-FC20-BN",
    flat="Conv3x3x4-BN-M2-FC8-BN-FC20-BN",
    augment=None,
    frozen=True,
    mirrored=True,
    levers={"more steps": {"steps": 3}, "learned": {"frozen": False, "mirrored": False, "flat": None}},
)
BUDGET = replace(BUDGETS["quick"], train=60, test=20, seeds=1, same_seeds=True)


def images(count: int) -> TensorDataset:
    return TensorDataset(torch.rand(count, 1, 8, 8), torch.arange(count) % 10)


def trainings(out: Path, *, finished: bool = False, setting: Setting = TINY) -> DepthTrainings:
    torch.manual_seed(0)
    parts = {"learn": images(60), "validation": images(20), "test": images(20)}
    fold = Fold(name="tiny", split="", coding="direct", encoder=DirectEncoder(2), num_classes=10, **parts)
    return DepthTrainings(Lab(out, budget=BUDGET, finished=finished), setting, fold, (1, 8, 8))


def test_a_linear_reader_is_ridge_regression() -> None:
    """By numpy's least squares on a system that has the penalty as further rows."""
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(30, 5)), np.arange(30) % 3
    centered, y = x - x.mean(0), np.eye(3)[labels]
    penalty = 0.3 * np.trace(centered.T @ centered) / 5
    rows = np.concatenate([centered, np.sqrt(penalty) * np.eye(5)])
    weight, *_ = np.linalg.lstsq(rows, np.concatenate([y - y.mean(0), np.zeros((5, 3))]), rcond=None)
    new, truth = rng.normal(size=(50, 5)), rng.integers(3, size=50)
    expected = (((new - x.mean(0)) @ weight + y.mean(0)).argmax(1) == truth).mean()
    reader = LinearReader(torch.tensor(x), torch.tensor(labels), num_classes=3)
    assert reader.accuracy(torch.tensor(new), torch.tensor(truth)) == pytest.approx(expected)


def test_a_training_that_was_stopped_goes_on_to_the_same_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    straight = trainings(tmp_path / "a").train("similarity-reading", seed=0, stage="whole")
    save, saved = Checkpoints.on_epoch_end, []

    def stop(checkpoints: Checkpoints, *given: object) -> None:
        save(checkpoints, *given)  # type: ignore[arg-type]
        saved.append(given)
        if len(saved) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "on_epoch_end", stop)
    with pytest.raises(KeyboardInterrupt):
        trainings(tmp_path / "b").train("similarity-reading", seed=0, stage="whole")
    again = trainings(tmp_path / "b").train("similarity-reading", seed=0, stage="whole")
    assert again.curve == straight.curve
    assert again.test == straight.test
    assert again.probe == straight.probe
    assert len(again.seconds) == 2
    assert not list((tmp_path / "b" / "runs").glob("*.checkpoints"))


def test_what_was_trained_is_read_and_not_trained_anew(tmp_path: Path) -> None:
    first = trainings(tmp_path).train("rest", seed=0, stage="trial")
    assert trainings(tmp_path, finished=True).train("rest", seed=0, stage="trial") == first
    assert first.test is None  # trials do not look at it
    assert first.probe == {}
    with pytest.raises(NotFinishedError, match="is not finished"):
        trainings(tmp_path, finished=True).train("rest", seed=1, stage="trial")
    wider = replace(TINY, wide=8, epochs=9)  # of which a trial hears nothing
    assert trainings(tmp_path, finished=True, setting=wider).train("rest", seed=0, stage="trial") == first
    with pytest.raises(NotFinishedError):
        trainings(tmp_path, finished=True, setting=replace(TINY, lr=1e-4)).train("rest", seed=0, stage="trial")


def test_convolutions_at_rest_stay_and_those_that_learn_do_not(tmp_path: Path) -> None:
    for name, moves in (("rest", False), ("similarity-reading", True), ("backprop", True)):
        trainer, front = trainings(tmp_path).trainer(name, seed=0, steps=1)
        assert front is None
        before = {key: value.clone() for key, value in trainer.net.named_parameters()}
        trainer.step(*images(20).tensors)
        moved = {key for key, value in trainer.net.named_parameters() if not torch.equal(value, before[key])}
        assert ("conv1.weight" in moved) == moves
        assert "fc1.weight" in moved


def test_a_frozen_first_layer_stands_still_and_is_read(tmp_path: Path) -> None:
    made = trainings(tmp_path, setting=FROZEN)
    (trainer, front), (flat, same) = (made.trainer(name, seed=0, steps=1) for name in ("similarity-reading", "flat"))
    assert front is not None
    assert same is not None
    conv, bn = front.spikes.front[:2]
    assert torch.equal(conv.weight[2:], -conv.weight[:2])  # both polarities
    currents = conv(made.fold.encoder(made.fold.learn.tensors[0])[0])
    bn.eval()
    torch.testing.assert_close(bn(currents).mean((0, 2, 3)), torch.full((4,), -1.0), rtol=0, atol=1e-4)
    learn = made.fold.learn.tensors[0]
    assert torch.equal(front.spikes.pack(learn), same.spikes.pack(learn))  # the same for all rules
    assert [name for name, _ in trainer.net.named_children()][:3] == ["conv2", "conv2_bn", "pool2"]
    assert "fc2" in dict(flat.net.named_children())
    done = made.train("similarity-reading", seed=0, stage="whole")
    assert list(done.probe) == ["conv1_lif", "conv2_lif", "fc1_lif"]
    assert list(made.train("flat", seed=0, stage="whole").probe) == ["conv1_lif", "fc1_lif", "fc2_lif"]
    assert done.test is not None


def test_mirror_images_are_kept_behind_the_images(tmp_path: Path) -> None:
    made = trainings(tmp_path, setting=FROZEN)
    _, front = made.trainer("rest", seed=0, steps=1)
    assert front is not None
    part = made.fold.validation
    kept, labels = front.keep(part, mirrored=True).tensors
    assert torch.equal(kept[:20], front.keep(part).tensors[0])
    assert torch.equal(kept[20:], front.spikes.pack(part.tensors[0].flip(3)))
    assert torch.equal(labels[20:], part.tensors[1])


def test_as_many_epochs_as_the_seconds_allow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial of 20 samples that takes 2 s an epoch: 60 samples take 6 s."""
    made = trainings(tmp_path)
    monkeypatch.setattr(DepthTrainings, "train", lambda *_, **__: replace(outcome(50), seconds=[1.0, 3.0]))
    assert made.epochs_in(30.0, "rest") == 5
    assert made.epochs_in(1.0, "rest") == 1


def test_damage_is_told(tmp_path: Path) -> None:
    path = tmp_path / "depth.json"
    good = {"curve": [[1.0, 2.0]], "seconds": [1.0], "test": None, "probe": {}, "machine": "cpu"}
    path.write_text(json.dumps({"outcome": good}))
    assert read_outcome(path) == Outcome(**good)
    for key, wrong in (("curve", [[1.0]]), ("seconds", []), ("test", "x"), ("probe", {"a": None}), ("machine", 1)):
        path.write_text(json.dumps({"outcome": {**good, key: wrong}}))
        with pytest.raises(ValueError, match="remove it, and it is trained anew"):
            read_outcome(path)


def outcome(validation: float) -> Outcome:
    return Outcome(curve=[[0.0, validation]], seconds=[1.0], test=None, probe={}, machine="")


def test_the_best_label_only_rule_is_chosen() -> None:
    assert study.chosen({"similarity": outcome(50), "reading": outcome(40), "backprop": outcome(90)}) == "similarity"
    assert study.chosen({"rest": outcome(1)}) is None


@pytest.mark.parametrize("setting", [TINY, FROZEN], ids=["learned", "frozen"])
def test_the_study_trains_chooses_and_tells_what_was_not_run(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "DATASETS", (MNIST,))  # the digits stand in
    tried = ("similarity-reading", "backprop", "rest", "flat")
    monkeypatch.setattr(study, "RECIPES", {name: RECIPES[name] for name in tried})
    monkeypatch.setitem(SETTINGS, "digits", {"quick": setting})  # type: ignore[arg-type]
    with pytest.raises(NotFinishedError, match="holds no finished training"):
        study.reproduce(Lab(tmp_path, budget=BUDGET, finished=True))
    result = study.reproduce(Lab(tmp_path, budget=BUDGET))
    titles = [RECIPES[name].title for name in tried[: 4 if setting.flat else 3]]
    stages = ["trial"] * len(titles) + ["whole"] * len(titles) + ["wide"] + ["lever"] * len(setting.levers)
    assert [row["stage"] for row in result.rows] == stages
    assert [(row["rule"], row["T"]) for row in result.rows if row["stage"] == "lever"] == [
        (words, setting.changed(words).steps) for words in setting.levers
    ]
    whole = [row for row in result.rows if row["stage"] == "whole"]
    assert [row["rule"] for row in whole] == titles
    layers = {"conv1_lif", "conv2_lif", "fc1_lif"} if setting.frozen else {"conv1_lif", "fc1_lif"}
    assert all(set(row["linear readers"]) == layers for row in whole[:3])
    assert all(len(row["validation accuracy by epoch"]) == row["epochs"] for row in whole)
    if setting.flat:
        assert whole[3]["network"] == setting.flat
    for path in (tmp_path / "runs").glob("*whole-backprop*"):
        path.unlink()
    (said,) = study.reproduce(Lab(tmp_path, budget=BUDGET, finished=True)).verdict
    assert "not run: pseudo-BP" in said


def test_every_task_of_the_study_has_networks_that_fit() -> None:
    for task, budgets in SETTINGS.items():
        for setting in budgets.values():
            net = setting.net(TASKS[task].input_shape)
            assert net(torch.zeros(2, *TASKS[task].input_shape)).shape[1] % TASKS[task].num_classes == 0
            for words in setting.levers:
                assert setting.changed(words) != replace(setting, levers={})
    with pytest.raises(ValueError, match="there is no augmentation 'mixup'"):
        replace(TINY, augment="mixup")
    with pytest.raises(ValueError, match="go with a frozen first convolution"):
        replace(TINY, mirrored=True)
    with pytest.raises(ValueError, match="images cannot be augmented"):
        replace(FROZEN, augment="crop")
    with pytest.raises(TypeError, match="breadth"):
        replace(TINY, levers={"wider": {"breadth": 3}})
