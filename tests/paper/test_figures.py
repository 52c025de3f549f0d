"""Every figure and table, end to end on a tiny budget; the store of runs; the page."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from snntorch_brp.cli import main
from snntorch_brp.cli.reproduce import FIGURES
from snntorch_brp.encoding import RateEncoder
from snntorch_brp.paper import budgets
from snntorch_brp.paper.budgets import Budget
from snntorch_brp.paper.datasets import ALL, CIFAR10, MNIST, TIDIGITS_1D, DatasetInUse
from snntorch_brp.paper.fig5 import AngleProbe
from snntorch_brp.paper.fig7 import correlation
from snntorch_brp.paper.fig9 import alpha_for, inputs
from snntorch_brp.paper.lab import Lab
from snntorch_brp.paper.stored import Run, stored_name
from snntorch_brp.paper.style import mean_and_spread
from snntorch_brp.rule_study import study as rule_study
from snntorch_brp.rule_study.courses import COURSES, Amount
from snntorch_brp.rule_study.entries import ENTRIES
from snntorch_brp.tasks.files import find_data
from snntorch_brp.tasks.protocol import Override
from snntorch_brp.tasks.registry import TASKS
from snntorch_brp.training import BRPTrainer, EpochResult

TINY = Budget(
    name="quick",
    about="seconds",
    epochs=1,
    lr=1e-3,
    train=30,
    test=20,
    small_study=True,
    fig8_steps=(3, 4),
    seeds=2,
    depths=(1, 2),
    repeats=1,
    checkpoints=False,
)
SMALL = Override(network="Conv3x3x2-S2-FC12-FC10", steps=4, batch_size=30)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget of seconds, and no gestures (they take tonic and a minute)."""
    monkeypatch.setitem(budgets.BUDGETS, "quick", TINY)
    override(monkeypatch, SMALL)
    monkeypatch.setitem(TASKS, "dvsgesture", replace(TASKS["dvsgesture"], simulation=None))
    memory = next(course for course in COURSES if course.name == "memory")
    monkeypatch.setattr(rule_study, "COURSES", (replace(memory, quick=Amount(1, 10, train=25, test=10)),))
    monkeypatch.setattr(rule_study, "ENTRIES", {name: ENTRIES[name] for name in ("decolle", "output-only")})


def override(monkeypatch: pytest.MonkeyPatch, quick: Override) -> None:
    """Give the digits another override of the quick budget."""
    digits = TASKS["digits"]
    monkeypatch.setitem(TASKS, "digits", replace(digits, budgets={**digits.budgets, "quick": quick}))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_all_figures_and_tables_and_their_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["reproduce", "all", "--out", str(out), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    for name in FIGURES:
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (out / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert name in printed
        table = rows(out / f"{name}.csv")
        measured = [row for row in table if row["source"] == "measured"]
        assert measured
        assert {row["source"] for row in table} <= {"measured", "published"}
        for row in measured:  # every number is told with what it comes from
            assert row["device"].startswith("cpu")
            assert row["T"]
            if name == "rules":
                assert row["data"] == "delayed match to sample"
                assert "20 training, 5 validation, 10 test" in row["split"]
                continue
            assert row["data"] if name == "table1" else "in place of MNIST" in row["data"]
            if name == "label-only":
                assert "25 training, 5 validation, 20 test" in row["split"]
            elif name == "depth":
                assert "27 training, 3 validation, 20 test" in row["split"]
            elif name == "settings":
                assert "held out to judge by; 21 train, 9 test" in row["split"]
            elif name != "table1":
                assert "30 train, 20 test" in row["split"]
                assert (row["epochs"], row["seeds"]) == ("2" if name == "fig7" else "1", "2")
    for name in ("fig6", "fig8", "fig9", "table1", "table3"):
        assert any(row["source"] == "published" for row in rows(out / f"{name}.csv"))
    assert "CIFAR-10: left out, no data" in printed
    page = (out / "index.html").read_text(encoding="utf-8")
    assert check_page(page) == list(FIGURES)
    assert page.count("data:image/png;base64,") == len(FIGURES)
    # table3 asks for the trainings that fig6 has done: none is repeated
    stored = [path for path in (out / "runs").glob("digits-brp-T4-e1-s0-*.json") if path.name.count("-") == 5]
    configs = [json.loads(path.read_text())["config"] for path in stored]
    assert (
        len([c for c in configs if (c["validation"], c["model"]) == (0, SMALL.network)]) == 1
    )  # others: settings, peers
    before = {path: path.stat().st_mtime_ns for path in (out / "runs").iterdir()}
    assert main(["reproduce", "fig6", "--out", str(out), "--device", "cpu"]) == 0
    assert {path: path.stat().st_mtime_ns for path in (out / "runs").iterdir()} == before


def check_page(page: str) -> list[str]:
    """Names of the sections; raises where a tag is not closed."""

    class Parser(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []
            self.sections: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag not in ("meta", "img"):
                self.open.append(tag)
            if tag == "section":
                self.sections.append(str(dict(attrs)["id"]))
            assert not any(str(value).startswith(("http", "//")) for key, value in attrs if key in ("src", "href"))

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    parser = Parser()
    parser.feed(page)
    assert not parser.open
    return parser.sections


def test_a_mean_is_over_the_seeds_as_stored(tmp_path: Path) -> None:
    lab = Lab(tmp_path, budget=replace(TINY, epochs=2))
    (dataset,) = lab.datasets(MNIST)
    result = FIGURES["fig6"](lab)
    accuracies = [lab.train(dataset, "brp", seed).accuracies for seed in lab.seeds(dataset)]
    ours = [row for row in result.rows if row.get("rule") == "TP_BRP" and row["source"] == "measured"]
    assert [row["accuracy"] for row in ours] == [pytest.approx(sum(pair) / 2) for pair in zip(*accuracies, strict=True)]
    assert [row["sd"] for row in ours] == [
        pytest.approx(abs(a - b) / math.sqrt(2)) for a, b in zip(*accuracies, strict=True)
    ]
    assert math.isnan(mean_and_spread([3.0])[1])
    common_rows = [row for row in result.rows if row["source"] == "published"]
    assert {row["data"] for row in common_rows} == {"MNIST"}  # never under the name of what stands in


def test_an_interrupted_command_goes_on_from_the_last_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def trainings(lab: Lab) -> Iterator[Any]:
        (dataset,) = lab.datasets(MNIST)
        yield from (lab.train(dataset, rule, 0).accuracies for rule in ("brp", "error"))

    first = list(trainings(Lab(tmp_path / "a", budget=TINY)))
    interrupted = trainings(Lab(tmp_path / "b", budget=TINY))
    next(interrupted)
    fit = BRPTrainer.fit
    monkeypatch.setattr(BRPTrainer, "fit", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(interrupted)
    assert len(list((tmp_path / "b" / "runs").glob("*.json"))) == 1
    monkeypatch.setattr(BRPTrainer, "fit", fit)
    assert list(trainings(Lab(tmp_path / "b", budget=TINY))) == first


def test_a_long_training_goes_on_from_its_last_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def angles(folder: str) -> Run:
        lab = Lab(tmp_path / folder, budget=replace(TINY, epochs=3, checkpoints=True))
        return lab.train(lab.datasets(MNIST)[0], "brp", 0, probe=AngleProbe)

    whole = angles("whole")
    measure = AngleProbe.on_epoch_end

    def stop_at_second(probe: AngleProbe, trainer: BRPTrainer, result: EpochResult) -> None:
        if result.epoch == 2:
            raise KeyboardInterrupt
        measure(probe, trainer, result)

    monkeypatch.setattr(AngleProbe, "on_epoch_end", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        angles("parts")
    monkeypatch.setattr(AngleProbe, "on_epoch_end", measure)
    parts = angles("parts")
    assert parts.found == whole.found
    assert [row["epoch"] for row in parts.found] == [0, 1, 2, 3]
    assert parts.accuracies == whole.accuracies
    assert [path.suffix for path in (tmp_path / "parts" / "runs").iterdir()] == [".json"]  # checkpoints are gone


def _interrupt(*args: object, **options: object) -> None:
    raise KeyboardInterrupt


def test_settings_that_change_a_number_change_the_name_of_the_run(tmp_path: Path) -> None:
    (dataset,) = Lab(tmp_path, budget=TINY).datasets(MNIST)
    names = {
        stored_name(Lab(tmp_path, budget=budget).plan(dataset, "brp", seed, steps=steps).config, None)
        for budget in (TINY, replace(TINY, lr=1e-4), replace(TINY, train=31))
        for seed in (0, 1)
        for steps in (3, 4)
    }
    assert len(names) == 12


def test_data_is_found_by_its_files(tmp_path: Path) -> None:
    for name in (
        "all/mnist/train-images-idx3-ubyte.gz",
        "all/fashion-mnist/train-images-idx3-ubyte.gz",
        "all/fsdd/recordings/0_a_0.wav",
        "other/NMNIST/Train/0/1.bin",
        "empty/x.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    found = find_data([tmp_path / "all", tmp_path / "other"])
    assert found == {
        "mnist": tmp_path / "all/mnist",
        "fashion-mnist": tmp_path / "all/fashion-mnist",
        "fsdd": tmp_path / "all/fsdd",
        "nmnist": tmp_path / "other/NMNIST",
    }
    with pytest.raises(ValueError, match="empty"):
        find_data([tmp_path / "empty"])
    lab = Lab(tmp_path / "out", budget=TINY, data=[tmp_path / "all"])
    labels = [dataset.label for dataset in lab.datasets(MNIST, CIFAR10, TIDIGITS_1D)]
    assert labels == ["MNIST", "Free Spoken Digit Dataset, in place of TIDigits, 1-D"]


def test_the_paper_budget_is_the_paper() -> None:
    paper = budgets.BUDGETS["paper"]
    assert (paper.batch_size, paper.lr, paper.schedule) == (50, 1e-4, "constant")
    assert (paper.epochs, paper.seeds) == (100, 3)
    assert paper.train is paper.test is None
    for name, task in TASKS.items():
        if not any(name in dataset.tasks for dataset in ALL):
            continue  # in none of the paper's figures
        allowed = {"network", "long_epochs"} if name == "digits" else {"long_epochs"}  # the paper has no 8x8 pixels
        own = task.override("paper")
        assert {entry.name for entry in fields(own) if getattr(own, entry.name)} <= allowed
        assert own.long_epochs == (400 if name in ("mnist", "fashion-mnist", "digits", "cifar10") else 800)


def test_the_short_budget_is_all_the_data_on_the_networks_of_the_tasks() -> None:
    short = budgets.BUDGETS["short"]
    assert short.train is short.test is None
    networks = {name: task.override("short").network for name, task in TASKS.items()}
    assert {name for name, network in networks.items() if network is not None} == {"digits"}


def test_a_task_gives_a_budget_epochs_and_seeds_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mnist, fsdd = (DatasetInUse(p, task, tmp_path) for p, task in ((MNIST, "mnist"), (TIDIGITS_1D, "fsdd")))
    record = replace(TASKS["mnist"], budgets={"quick": Override(epochs=2, long_epochs=5, seeds=1)})
    monkeypatch.setitem(TASKS, "mnist", record)
    lab = Lab(tmp_path, budget=replace(TINY, epochs=3))
    assert [lab.plan(dataset, "brp", 0).config.epochs for dataset in (mnist, fsdd)] == [2, 3]
    assert [len(lab.seeds(dataset)) for dataset in (mnist, fsdd)] == [1, 2]
    assert [lab.long_epochs(dataset) for dataset in (mnist, fsdd)] == [5, None]


def test_table3_trains_longer_where_the_task_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for long_epochs, expected in (None, 1), (2, 2):
        override(monkeypatch, replace(SMALL, long_epochs=long_epochs))
        lab = Lab(tmp_path, budget=TINY)
        measured = [row for row in FIGURES["table3"](lab).rows if row["source"] == "measured"]
        assert {row["epochs"] for row in measured} == {expected}


@pytest.mark.parametrize(("argv", "seeds"), [([], 1), (["--seeds", "2"], 2)])
def test_seeds_asked_for_are_used_for_every_task(
    argv: list[str], seeds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    override(monkeypatch, replace(SMALL, seeds=1))
    assert main(["reproduce", "fig6", *argv, "--out", str(tmp_path), "--device", "cpu"]) == 0
    measured = [row for row in rows(tmp_path / "fig6.csv") if row["source"] == "measured"]
    assert {row["seeds"] for row in measured} == {str(seeds)}


def test_epochs_asked_for_are_used_for_every_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    override(monkeypatch, replace(SMALL, epochs=3, long_epochs=4))
    argv = ["--epochs", "2", "--seeds", "1", "--out", str(tmp_path), "--device", "cpu"]
    for name in ("fig6", "table3"):
        assert main(["reproduce", name, *argv]) == 0
        measured = [row for row in rows(tmp_path / f"{name}.csv") if row["source"] == "measured"]
        assert {row["epochs"] for row in measured} == {"2"}
    assert "--epochs 2" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_finished_shows_what_is_there_and_trains_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--finished", "--out", str(tmp_path), "--device", "cpu"]
    assert main(["reproduce", "fig6", *argv]) == 1
    assert "no finished training" in capsys.readouterr().err
    lab = Lab(tmp_path, budget=TINY)
    (dataset,) = lab.datasets(MNIST)
    trained = {("error", 0), ("error", 1), ("output-only", 1)}
    for rule, seed in trained:
        lab.train(dataset, rule, seed)
    assert main(["reproduce", "fig6", *argv]) == 0
    printed = capsys.readouterr().out
    assert "TP_BRP not run" in printed
    assert "(one seed)" in printed
    measured = [row for row in rows(tmp_path / "fig6.csv") if row["source"] == "measured"]
    assert {(row["rule"], row["seeds"]) for row in measured} == {("TP_err", "2"), ("OutputOnly", "1")}
    assert len(list((tmp_path / "runs").iterdir())) == len(trained)
    assert main(["reproduce", "fig8", *argv]) == 1
    assert "leave out --finished" in capsys.readouterr().err


def test_inputs_have_the_share_of_spikes_asked_for() -> None:
    x = torch.rand(50, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    x[:, :, :, :5] = 0  # 3 of 8 columns can fire
    for share in (0.05, 0.2, 0.35):
        made = inputs(x, share, RateEncoder(steps=20))
        assert set(made) == {"data", "random"}
        for spikes in made.values():
            assert spikes.shape == (20, *x.shape)
            assert float(spikes.mean()) == pytest.approx(share, abs=0.01)
        assert not made["data"][..., :5].any()
    assert alpha_for(x, 0.4) is None
    assert set(inputs(x, 0.4, RateEncoder(steps=20))) == {"random"}


def test_correlation() -> None:
    a = torch.tensor([1.0, 2.0, 3.0])
    assert correlation(a, 2 * a + 1) == pytest.approx(1)
    assert correlation(a, -a) == pytest.approx(-1)
    assert correlation(a, torch.ones(3)) == 0


@pytest.mark.parametrize(
    ("argv", "message"),
    [(["--data", "/nowhere"], "/nowhere is not a folder"), (["--seeds", "0"], "--seeds must be at least 1")],
)
def test_failure_is_one_clear_line(
    argv: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", "fig6", *argv, "--out", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err
