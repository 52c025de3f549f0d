"""The tasks of Shifting Learning: data, training, command line, figure."""

from __future__ import annotations

import gzip
import math
import runpy
import struct
from pathlib import Path

import pytest
import torch

from snntorch_brp.cli import main
from snntorch_brp.shifting import (
    SILENT,
    CreditTask,
    Schedule,
    ShiftingNetwork,
    accuracy,
    fit,
    graded_times,
    recipes,
)
from snntorch_brp.shifting.raster import spike_times


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("feedback", ["symmetric", "random"])
def test_xor_is_learned(feedback: str) -> None:
    spikes, labels = recipes.xor()
    net = recipes.XOR.network(feedback=feedback, generator=generator())
    history = list(fit(net, spikes, labels, recipes.XOR.schedule, generator=generator()))
    assert len(history) == 400
    assert accuracy(net, spikes, labels) == 1


def test_iris_is_learned_within_a_few_epochs() -> None:
    spikes, labels = recipes.iris()
    assert spikes.shape == (150, 5)
    assert (spikes[:, 4] == 1).all()
    x = 1 - spikes[:, :4].log()
    torch.testing.assert_close(x.std(dim=0), torch.ones(4))
    fold = next(recipes.folds(labels))
    assert len(fold.train) == 120
    assert torch.bincount(labels[fold.test]).tolist() == [10, 10, 10]
    assert not set(fold.train.tolist()) & set(fold.test.tolist())
    net = recipes.IRIS.network(generator=generator())
    list(
        fit(
            net,
            spikes[fold.train],
            labels[fold.train],
            Schedule(epochs=40, batch_size=30, lr=0.05, decay=0.95),
            generator=generator(),
        )
    )
    assert accuracy(net, spikes[fold.test], labels[fold.test]) > 0.85


def test_training_repeats_itself() -> None:
    spikes, labels = recipes.xor()
    runs = []
    for _ in range(2):
        g = generator(3)
        net = recipes.XOR.network(generator=g)
        runs.append((list(fit(net, spikes, labels, Schedule(epochs=20, batch_size=2), generator=g)), net(spikes)))
    assert runs[0][0] == runs[1][0]
    assert torch.equal(runs[0][1], runs[1][1])


def test_without_a_reference_the_answer_cannot_depend_on_when_a_pattern_comes() -> None:
    spikes, _ = recipes.iris()
    net = ShiftingNetwork((4, 10, 3), generator=generator()).double()
    spikes = spikes[:, :4].double()
    torch.testing.assert_close(net(spikes * 2), net(spikes) * 2)
    net = ShiftingNetwork((5, 10, 3), generator=generator()).double()
    there, later = net(recipes.with_reference(spikes)), net(recipes.with_reference(spikes * 2))
    assert (later / there - 2).abs().max() > 0.1


def test_jitter_moves_every_time_by_its_own_amount() -> None:
    moved = recipes.jittered(0.1, generator=generator())(torch.ones(200, 50)).log()
    # 10,000 draws: standard errors of 0.001 and 0.0007
    assert moved.mean() == pytest.approx(0, abs=0.004)
    assert moved.std() == pytest.approx(0.1, abs=0.003)


def test_images_move_and_background_comes_in() -> None:
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 1, 1] = 1.0
    times = recipes.images(image)
    places = set()
    move = recipes.shifted(1, generator=generator())
    for _ in range(60):
        moved = move(times).view(4, 4)
        assert moved.sort().values.max() == pytest.approx(math.e)
        ((y, x),) = (moved < 2).nonzero().tolist()
        assert moved[y, x] == 1.0
        places.add((y, x))
    assert places == {(y, x) for y in range(3) for x in range(3)}


# temporal credit assignment ------------------------------------------------------------------------------------


def test_trials_hold_what_they_say() -> None:
    task = CreditTask()
    events, totals, counts = task.draw(20, generator=generator())
    assert counts.shape == (20, 9)
    assert torch.equal(totals, counts @ torch.tensor([1, 2, 3, 4, 5, 0, 0, 0, 0]))
    assert (events.times.diff(dim=1) >= 0).all()
    real = events.times < SILENT
    seconds = events.times[real].log() * task.time_scale
    assert 0 <= seconds.min() <= seconds.max() <= task.duration + 1e-4
    # 500 synapses at 5 Hz for 1 s; 20 trials: a standard error of 11, plus the phases of the swinging rate
    assert real.sum(dim=1).double().mean() == pytest.approx(2500, rel=0.05)


def test_features_are_fixed_patterns_in_their_place() -> None:
    task = CreditTask(worth=(1,), synapses=40, interval=0.5)
    events, _, counts = task.draw(10, generator=generator())
    pattern, index = task.features[0]
    for b in range(10):
        seconds = events.times[b].log() * task.time_scale
        found = 0
        for start in (seconds[(events.synapses[b] == index[0]) & (events.times[b] < SILENT)] - pattern[0]).tolist():
            hits = [
                bool(((seconds - start - t).abs() < 1e-4)[events.synapses[b] == i].any())
                for t, i in zip(pattern.tolist(), index.tolist(), strict=True)
            ]
            found += all(hits)
        assert found == counts[b, 0]


def test_trials_are_seeded_and_features_belong_to_the_task() -> None:
    one, same, other = (CreditTask(seed=s) for s in (0, 0, 1))
    draws = [task.draw(3, generator=generator(5)).events.times for task in (one, same)]
    assert torch.equal(*draws)
    assert len(one.features[0][0]) != len(other.features[0][0]) or not torch.equal(
        one.features[0][0], other.features[0][0]
    )


def test_features_longer_than_their_interval_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot follow each other"):
        CreditTask(feature_duration=0.5, interval=0.3)


def test_counting_beats_chance_on_unseen_trials() -> None:
    task = CreditTask(worth=(1, 2, 0), synapses=100, rate=20.0)
    train, test = (task.draw(n, generator=generator(n)) for n in (80, 60))
    outcomes = int(train.totals.max()) + 1
    net = ShiftingNetwork((100, outcomes), rule=recipes.TCA.rule, gain=0.2, generator=generator())
    wanted = graded_times(train.totals, outcomes, width=outcomes)
    list(
        fit(
            net,
            train.events,
            train.totals,
            Schedule(epochs=30, batch_size=20, lr=1e-4, decay=0.97),
            generator=generator(),
            targets=wanted,
        )
    )
    error = (net.predict(test.events) - test.totals).abs().double().mean()
    chance = (train.totals.median() - test.totals).abs().double().mean()
    assert error < 0.8 * chance


def test_graded_times_grow_with_the_distance() -> None:
    times = graded_times(torch.tensor([2]), 6, width=2)
    assert times.log()[0].tolist() == pytest.approx([0.99, 0.5, 0.01, 0.5, 0.99, 0.99], rel=1e-5)


def test_the_ways_that_the_benchmark_compares_agree() -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "shifting_layer.py"
    benchmark = runpy.run_path(str(script))
    for case in ("image", "dense"):
        data = [t.double() for t in benchmark["problem"](case, 4, 60, 7)]
        z, update = benchmark["expanded"](*data)
        for method in benchmark["METHODS"].values():
            for got, expected in zip(method(*data), (z, update), strict=True):
                torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


# figure and command line ---------------------------------------------------------------------------------------


def test_raster_marks_the_answer() -> None:
    spikes, _ = recipes.xor()
    net = recipes.XOR.network(generator=generator())
    figure = spike_times(net, spikes[1:], title="xor")
    assert len(figure.axes) == 3
    assert f"earliest output {int(net.predict(spikes)[1])}" in figure.axes[0].get_title()
    quiet = spike_times(net, torch.full((1, 2), SILENT))
    assert quiet.axes[0].get_title() == ""


def write_idx(folder: Path) -> None:
    for part, n in (("train", 40), ("t10k", 10)):
        pixels = (torch.rand(n, 28, 28, generator=generator(n)) * 255).byte().numpy().tobytes()
        labels = (torch.arange(n) % 10).byte().numpy().tobytes()
        with gzip.open(folder / f"{part}-images-idx3-ubyte.gz", "wb") as file:
            file.write(struct.pack(">4B3I", 0, 0, 8, 3, n, 28, 28) + pixels)
        with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(struct.pack(">4BI", 0, 0, 8, 1, n) + labels)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shift", "xor", "--seeds", "2", "--epochs", "5", "--raster", str(tmp_path / "xor.png")]) == 0
    assert "of 2 seeds solved" in capsys.readouterr().out
    assert (tmp_path / "xor.png").stat().st_size > 0
    assert main(["shift", "iris", "--repeats", "1", "--epochs", "1", "--feedback", "random"]) == 0
    assert "over 5 folds" in capsys.readouterr().out
    assert main(["shift", "tca", "--epochs", "1", "--train-trials", "5", "--test-trials", "3"]) == 0
    assert "chance   accuracy" in capsys.readouterr().out
    write_idx(tmp_path)
    for name in ("mnist", "fashion-mnist"):
        assert main(["shift", name, "--data", str(tmp_path), "--epochs", "1", "--limit-train", "20"]) == 0
        assert "epoch  1: training" in capsys.readouterr().out


def test_command_line_names_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shift", "mnist", "--data", str(tmp_path / "none")]) == 1
    assert "is not a folder" in capsys.readouterr().err
    for option in ("--epochs", "--seeds"):
        with pytest.raises(SystemExit, match="2"):
            main(["shift", "xor", option, "0"])
        assert "'0' is not a whole number of at least 1" in capsys.readouterr().err
