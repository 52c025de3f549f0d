"""The tasks on recordings, from the command line down to a batch of spikes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from snntorch_brp.cli import main
from snntorch_brp.data.simulate import simulate_dvsgesture
from snntorch_brp.models import network
from snntorch_brp.runs.assemble import load_data, task_of
from snntorch_brp.runs.config import RunConfig

pytest.importorskip("tonic", reason="tonic is not installed")
pytest.importorskip("librosa", reason="librosa is not installed")
soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed")


@pytest.fixture
def fsdd(tmp_path):
    (tmp_path / "recordings").mkdir()
    rng = np.random.default_rng(0)
    for speaker in ("ann", "bob"):
        for digit in range(10):
            for index in (0, 7):
                tone = np.sin(np.arange(1500) * (0.1 + 0.2 * digit)) + rng.normal(0, 0.1, 1500)
                soundfile.write(tmp_path / "recordings" / f"{digit}_{speaker}_{index}.wav", 0.3 * tone, 8000)
    return tmp_path


@pytest.fixture
def nmnist(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("Train", 3), ("Test", 1)):
        for digit in range(10):
            (tmp_path / "NMNIST" / split / str(digit)).mkdir(parents=True)
            for i in range(count):
                rows = rng.integers(0, 34, (80, 5))
                rows[:, 2], rows[:, 3], rows[:, 4] = rng.integers(0, 2, 80) * 128, np.arange(80), 0
                path = tmp_path / "NMNIST" / split / str(digit) / f"{i}.bin"
                path.write_bytes(rows.astype(np.uint8).tobytes())
    return tmp_path


def config(task, root, *, steps=4, **options):
    return RunConfig(
        task=task, data=str(root), model="", propagation="brp", steps=steps, alpha=1.0, epochs=1, lr=1e-3,
        schedule="constant", batch_size=5, seed=0, device="cpu", options={"cache": "off", **options},
    )  # fmt: skip


def spikes_and_output(settings):
    """A batch of the test set as the network gets it, and what the task's own network makes of it."""
    task, sets = task_of(settings), load_data(settings)
    x, labels = sets.test[:3]
    spikes = task.encoder(settings.steps, settings.alpha)(x)
    assert spikes.shape[2:] == task.input_shape
    assert set(spikes.unique().tolist()) <= {0.0, 1.0}
    assert network(task.network, task.input_shape)(spikes[0]).shape == (len(labels), 10)
    return spikes, sets


@pytest.mark.parametrize(("layout", "shape"), [("1d", (30, 3, 1, 30)), ("2d", (30, 3, 1, 30, 30))])
def test_spoken_digits_in_both_layouts(fsdd, layout, shape):
    spikes, sets = spikes_and_output(config("fsdd", fsdd, steps=30, layout=layout))
    assert spikes.shape == shape
    assert (len(sets.train), len(sets.test)) == (28, 12)
    assert sets.split == "random 70/30 split of the recordings, seed 0"


def test_the_split_is_the_users_choice(fsdd):
    assert "corpus" in load_data(config("fsdd", fsdd, split="corpus")).split
    sets = load_data(config("fsdd", fsdd, split="speaker", speaker="bob"))
    assert sets.split == "held-out speaker (bob)"
    assert len(sets.test) == 20
    assert sets.train.tensors[1].tolist() != sorted(sets.train.tensors[1].tolist())  # any first part is of all classes
    with pytest.raises(ValueError, match="no recording of speaker 'eve'; there are ann, bob"):
        load_data(config("fsdd", fsdd, split="speaker", speaker="eve"))
    with pytest.raises(ValueError, match=r"no option 'colour'; it has: layout, split"):
        load_data(config("fsdd", fsdd, colour="blue"))


@pytest.mark.parametrize(("polarities", "channels"), [("separate", 2), ("merged", 1)])
def test_event_recordings_with_polarities_apart_or_merged(nmnist, polarities, channels):
    spikes, sets = spikes_and_output(config("nmnist", nmnist, polarities=polarities))
    assert spikes.shape == (4, 3, channels, 34, 34)
    assert (len(sets.train), len(sets.test)) == (30, 10)


def test_raw_events_can_be_framed_on_the_device(nmnist, tmp_path, capsys):
    raw, made = (load_data(config("nmnist", nmnist, events=kind)) for kind in ("raw", "frames"))
    spikes = task_of(config("nmnist", nmnist)).encoder(4, 1.0)(made.test[:5][0])
    assert torch.equal(raw.encoder(raw.test[:5][0]), spikes)
    with pytest.raises(ValueError, match="does not go with --events raw"):
        load_data(config("nmnist", nmnist, events="raw", frames="9"))
    rest = ["--model", "2312-20-10", "--epochs", "1", "--steps", "4", "--out", str(tmp_path / "run")]
    assert main(["train", "nmnist", "--data", str(nmnist), "--events", "raw", *rest]) == 0
    assert "10 samples (the corpus's own split)" in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path / "run")]) == 0


def test_frames_are_drawn_at_random_on_request(nmnist):
    settings = config("nmnist", nmnist, frames="12")
    task, sets = task_of(settings), load_data(settings)
    x = sets.test[:3][0]
    assert x.shape[1] == 12
    torch.manual_seed(0)
    one, other = (task.encoder(4, 1.0)(x) for _ in range(2))
    assert one.shape == other.shape == (4, 3, 2, 34, 34)
    assert not torch.equal(one, other)
    with pytest.raises(ValueError, match="--frames 3 is less than --steps 4"):
        load_data(config("nmnist", nmnist, frames="3"))


def test_training_says_how_the_test_set_came_about(fsdd, tmp_path, capsys):
    options = ["--model", "900-20-10", "--epochs", "1", "--steps", "4", "--split", "speaker", "--speaker", "ann"]
    places = ["--data", str(fsdd), "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "run")]
    assert main(["train", "fsdd", *places, *options]) == 0
    assert "20 samples (held-out speaker (ann))" in capsys.readouterr().out
    assert any((tmp_path / "cache").rglob("*.npy"))
    assert json.loads((tmp_path / "run" / "config.json").read_text())["options"]["speaker"] == "ann"
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    assert "20 samples (held-out speaker (ann))" in capsys.readouterr().out


def test_a_bad_recording_ends_the_run_or_is_skipped(fsdd, tmp_path, capsys, caplog):
    (fsdd / "recordings" / "3_ann_0.wav").write_bytes(b"RIFF")
    rest = ["--data", str(fsdd), "--cache", "off", "--model", "900-20-10", "--epochs", "1", "--steps", "4"]
    assert main(["train", "fsdd", *rest, "--out", str(tmp_path / "a")]) == 1
    assert "3_ann_0.wav" in capsys.readouterr().err
    assert main(["train", "fsdd", *rest, "--out", str(tmp_path / "b"), "--on-bad", "skip"]) == 0
    assert "skipped 1 of 40" in caplog.text


def test_everything_printed_from_simulated_gestures_says_so(tmp_path, capsys):
    simulate_dvsgesture(tmp_path, users=((1, 2), (24, 25)))
    rest = ["--model", "2048-20-11", "--epochs", "1", "--steps", "3", "--cache", "off", "--limit-train", "20"]
    assert main(["train", "dvsgesture", "--data", str(tmp_path), "--out", str(tmp_path / "run"), *rest]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("simulated: DvsGesture")
    assert "(simulated gestures, the corpus's own split)" in out[2]


@pytest.mark.parametrize(
    ("task", "owner"),
    [
        ("tidigits", "LDC"),
        ("fsdd", "github"),
        ("dvsgesture", "ibm"),
        ("nmnist", "orchard"),
        ("cifar10", "toronto"),
    ],
)
def test_where_data_is_missing_its_owner_is_named(task, owner, tmp_path, capsys):
    assert main(["train", task, "--data", str(tmp_path), "--out", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert owner in error
    assert "DIR/" in error
