"""CIFAR-10: both distributions, and pickles that want more than to be read."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch

from snntorch_brp.data.cifar import load_cifar10, read_binary, read_python

PER_FILE = 6


@pytest.fixture
def batches():
    rng = np.random.default_rng(0)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    return {n: (rng.integers(0, 256, (PER_FILE, 3072), np.uint8), rng.integers(0, 10, PER_FILE)) for n in names}


@pytest.fixture
def binary(tmp_path, batches):
    folder = tmp_path / "bin" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name, (pixels, labels) in batches.items():
        records = np.concatenate([labels[:, None].astype(np.uint8), pixels], axis=1)
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    return folder.parent


@pytest.fixture
def python(tmp_path, batches):
    folder = tmp_path / "py" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name, (pixels, labels) in batches.items():
        batch = {b"data": pixels, b"labels": labels.tolist(), b"batch_label": b"1", b"filenames": [b"a.png"]}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    return folder.parent


@pytest.mark.parametrize("version", ["binary", "python"])
@pytest.mark.parametrize("train", [True, False])
def test_both_versions_give_the_images(version, train, batches, request):
    root = request.getfixturevalue(version)
    images, labels = load_cifar10(root, train=train).tensors
    chosen = list(batches.values())[:5] if train else [batches["test_batch"]]
    assert torch.equal(labels, torch.from_numpy(np.concatenate([b[1] for b in chosen])))
    expected = np.concatenate([b[0] for b in chosen]).reshape(-1, 3, 32, 32).astype(np.float32) / 255
    np.testing.assert_array_equal(images.numpy(), expected)
    (folder,) = root.iterdir()
    assert torch.equal(load_cifar10(folder, train=train).tensors[1], labels)  # the folder itself will do


class Malicious:
    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_nothing_in_a_pickle_is_executed(tmp_path, protocol):
    target = tmp_path / "made"
    path = tmp_path / "test_batch"
    for call in (Malicious(os.mkdir, str(target)), Malicious(eval, f"__import__('os').mkdir({str(target)!r})")):
        path.write_bytes(pickle.dumps({b"data": call, b"labels": [1]}, protocol=protocol))
        with pytest.raises(ValueError, match=r"test_batch.*refused"):
            read_python(path)
    assert not target.exists()


def test_objects_inside_of_an_array_are_not_made(tmp_path):
    array = np.empty(1, dtype=object)
    array[0] = Malicious(os.mkdir, str(tmp_path / "made"))
    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": array, b"labels": [1]}))
    with pytest.raises(ValueError, match="test_batch"):
        read_python(tmp_path / "test_batch")
    assert not (tmp_path / "made").exists()


def test_damaged_files_are_named(binary, python, tmp_path):
    for path, read in (
        (binary / "cifar-10-batches-bin" / "test_batch.bin", read_binary),
        (python / "cifar-10-batches-py" / "test_batch", read_python),
    ):
        content = path.read_bytes()
        for damaged in (b"", content[:100], content[:-7]):
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match="test_batch"):
                read(path)
    path.write_bytes(pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, 10]}))
    with pytest.raises(ValueError, match=r"labels run from 1 to 10; expected 0\.\.9"):
        read_python(path)


@pytest.mark.parametrize("labels", [[0.7, 1.0], [[0], [1]], [True, False], ["0", "1"], np.array([0.5, 1.0]), []])
def test_labels_are_whole_numbers(tmp_path, labels):
    path = tmp_path / "test_batch"
    path.write_bytes(pickle.dumps({b"data": np.zeros((len(labels), 3072), np.uint8), b"labels": labels}))
    with pytest.raises(ValueError, match=r"test_batch: .*(whole numbers|no images)"):
        read_python(path)


def test_missing_files_are_told_with_the_layout(binary, tmp_path):
    (binary / "cifar-10-batches-bin" / "data_batch_3.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks data_batch_3\.bin"):
        load_cifar10(binary, train=True)
    with pytest.raises(FileNotFoundError, match=r"cs\.toronto\.edu"):
        load_cifar10(tmp_path / "nowhere", train=True)
