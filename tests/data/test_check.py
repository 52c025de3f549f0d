"""``snntorch-brp data``: what is in a folder, and the pictures."""

from __future__ import annotations

import gzip
import pickle
import re
import struct

import numpy as np
import pytest

from snntorch_brp.cli import main
from snntorch_brp.data.check import check

pytest.importorskip("tonic", reason="tonic is not installed")
soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed")


def say(samples, path, rate=8000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate)


@pytest.fixture
def fsdd(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, 2000)
    for digit in range(10):
        for index in (0, 5, 6):
            say(noise, tmp_path / "recordings" / f"{digit}_ann_{index}.wav")
    return tmp_path


@pytest.fixture
def events(tmp_path):
    rows = np.array([[1, 2, 1, 0], [3, 4, 0, 5], [5, 6, 1, 9]])
    for name in ("left", "right"):
        (tmp_path / "events" / name).mkdir(parents=True)
        np.save(tmp_path / "events" / name / "a.npy", rows)
    return tmp_path / "events"


def test_recordings_are_counted_and_damage_is_named(fsdd, capsys):
    assert main(["data", "check", str(fsdd)]) == 0
    out = capsys.readouterr().out
    assert "Free Spoken Digit Dataset" in out
    assert re.search(r"all +20 +10\n", out)
    assert "missing: 2680 of the 2700 train samples" in out
    say(np.zeros(2000), fsdd / "recordings" / "3_ann_5.wav")
    (fsdd / "recordings" / "4_ann_0.wav").write_bytes(b"RIFF")
    (fsdd / "recordings" / "five_ann_0.wav").write_bytes(b"")
    assert main(["data", "check", str(fsdd)]) == 1
    damaged = [line for line in capsys.readouterr().out.splitlines() if line.startswith("damaged:")]
    assert len(damaged) == 3
    assert all(part in " ".join(damaged) for part in ("3_ann_5.wav: silent", "4_ann_0.wav", "is not named"))
    report = check(fsdd)
    assert report.counts["train", 3] == 1
    assert report.total("test") == 9


def test_your_own_folders_are_known(events, tmp_path):
    report = check(events)
    assert report.name == "event recordings in class folders"
    assert report.counts == {("", 0): 1, ("", 1): 1}
    np.save(events / "left" / "b.npy", np.array([[1, 2, 1, 9], [3, 4, 0, 5]]))
    assert "runs backwards" in check(events).damaged[0]
    say(np.random.default_rng(0).normal(0, 0.1, 2000), tmp_path / "sounds" / "cat" / "a.wav")
    assert check(tmp_path / "sounds").name == "sounds in class folders"


def test_a_part_of_dvsgesture_is_told_with_its_layout(tmp_path, capsys):
    person = tmp_path / "DVSGesture" / "ibmGestureTrain" / "user01_led"
    person.mkdir(parents=True)
    np.save(person / "0.npy", np.zeros((3, 4), int))
    assert main(["data", "check", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "holds 1 recordings (at least 100 wanted)" in out
    assert "research.ibm.com" in out


def test_images_are_counted(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("test_batch", "data_batch_1"):
        batch = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, 7]}
        (folder / name).write_bytes(pickle.dumps(batch))
    report = check(tmp_path)
    assert report.counts == {("test", 1): 1, ("test", 7): 1}
    assert "lacks data_batch_2" in report.missing[0]
    (folder / "test_batch").write_bytes(b"")
    assert "damaged" in check(tmp_path).damaged[0]
    idx = tmp_path / "mnist"
    idx.mkdir()
    for part, labels in (("train", bytes([3, 3])), ("t10k", bytes([5]))):
        n = len(labels)
        images = struct.pack(">iiii", 2051, n, 28, 28) + bytes(784 * n)
        (idx / f"{part}-images-idx3-ubyte").write_bytes(images)
        (idx / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(struct.pack(">ii", 2049, n) + labels))
    report = check(idx)
    assert report.counts == {("train", 3): 2, ("test", 5): 1}


def test_what_is_not_known_is_an_error(tmp_path, capsys):
    (tmp_path / "letters.txt").touch()
    assert main(["data", "check", str(tmp_path)]) == 1
    assert "found: letters.txt" in capsys.readouterr().err
    assert main(["data", "check", str(tmp_path / "nowhere")]) == 1
    assert "is not a folder" in capsys.readouterr().err


def test_a_recording_is_drawn(fsdd, tmp_path, capsys):
    out = tmp_path / "pictures"
    assert main(["data", "show", "fsdd", str(fsdd), "--index", "4", "--steps", "10", "--out", str(out)]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["fsdd-4-1d.png", "fsdd-4-2d.png"]
    assert main(["data", "show", "fsdd", str(fsdd), "--index", "99", "--out", str(out)]) == 1
    assert "there is no sample 99: there are 30" in capsys.readouterr().err


def test_events_are_drawn_and_animated(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "NMNIST" / "Test" / "6"
    folder.mkdir(parents=True)
    rows = rng.integers(0, 34, (60, 5)).astype(np.uint8)
    rows[:, 2:] = np.stack([np.zeros(60), np.arange(60), np.zeros(60)], 1)  # the time, and polarity 0
    (folder / "1.bin").write_bytes(rows.tobytes())
    assert main(["data", "show", "nmnist", str(tmp_path), "--steps", "5", "--out", str(tmp_path / "out")]) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["nmnist-0-seen.png", "nmnist-0.gif"]
    assert (tmp_path / "out" / "nmnist-0.gif").read_bytes()[:3] == b"GIF"


def test_every_task_of_images_is_drawn(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for part, n in (("train", 2), ("t10k", 2)):
        images = struct.pack(">iiii", 2051, n, 28, 28) + rng.bytes(784 * n)
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(images)
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">ii", 2049, n) + bytes([9, 0]))
    (tmp_path / "test_batch.bin").write_bytes(bytes([3]) + rng.bytes(3072))
    out = tmp_path / "out"
    for task, folder in (("digits", []), ("mnist", [tmp_path]), ("fashion-mnist", [tmp_path]), ("cifar10", [tmp_path])):
        command = ["data", "show", task, *map(str, folder), "--steps", "3", "--out", str(out)]
        assert main(command) == 0
        before = (out / f"{task}-0.png").read_bytes()
        (out / f"{task}-0.png").write_bytes(b"mine")
        capsys.readouterr()
        assert main(command) == 1
        assert f"{task}-0.png already: name another folder, or add --overwrite" in capsys.readouterr().err
        assert (out / f"{task}-0.png").read_bytes() == b"mine"
        assert main([*command, "--overwrite"]) == 0
        assert (out / f"{task}-0.png").read_bytes()[:4] == before[:4]
    assert main(["data", "show", "mnist", "--out", str(out)]) == 1
    assert "name the folder of the data" in capsys.readouterr().err
    assert main(["data", "show", "digits", "--steps", "0", "--out", str(tmp_path / "none")]) == 1
    assert not (tmp_path / "none").exists()


def test_the_split_that_is_counted_is_explained(fsdd, capsys):
    assert main(["data", "check", str(fsdd)]) == 0
    assert "unless --split corpus" in capsys.readouterr().out


def test_a_sensor_that_no_camera_has_is_damage(events):
    np.save(events / "left" / "far.npy", np.array([[1, 2, 1, 0], [32767, 4, 0, 5]]))
    (damaged,) = check(events).damaged
    assert "far.npy: x runs from 1 to 32767; expected 0 to 2047" in damaged
