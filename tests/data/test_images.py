"""IDX files and digits: what is read, and what is refused."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from snntorch_brp.data.images import load_digits, load_mnist, read_idx
from snntorch_brp.data.loader import batches, head

REAL = Path(__file__).parents[3] / "shared" / "data" / "mnist"


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small set in MNIST's format, half of it gzipped."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("t10k", 5)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(count, dtype=np.uint8) % 10))
    return tmp_path


def test_reads_plain_and_gzipped(folder: Path) -> None:
    images, labels = load_mnist(folder, train=True).tensors
    assert images.shape == (12, 1, 28, 28)
    assert images.dtype == torch.float32
    expected = np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype=np.uint8)
    assert torch.equal((images[:, 0] * 255).round().byte(), torch.from_numpy(expected))
    assert labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert len(load_mnist(folder, train=False)) == 5


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        load_mnist(tmp_path / "nowhere", train=True)
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=r"t10k-labels-idx1-ubyte.*found.*train-images"):
        load_mnist(folder, train=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "magic number"),
        (b"\x00\x00\x08\x03" + b"\x00" * 12, "magic number"),  # images where labels belong
        (b"\x00\x00\x0d\x01\x00\x00\x00\x00", "magic number"),  # floats
        (b"\x00\x00\x08\x01\x00\x00", "truncated"),
        (idx(np.zeros(12, np.uint8))[:-1], "truncated"),
        (idx(np.zeros(12, np.uint8)) + b"x", "truncated or has trailing"),
        (gzip.compress(idx(np.zeros(12, np.uint8)), mtime=0)[:-9], "gzip file is damaged"),
        (idx(np.full(12, 10, np.uint8)), "0..9"),
        (idx(np.zeros(11, np.uint8)), "12 images"),
    ],
    ids=["empty", "images", "floats", "no sizes", "short", "long", "gzip", "label 10", "too few"],
)
def test_a_damaged_file_is_named_with_what_was_found(folder: Path, content: bytes, message: str) -> None:
    (folder / "train-labels-idx1-ubyte").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        load_mnist(folder, train=True)
    assert "train-labels-idx1-ubyte" in str(error.value)


def test_images_of_another_size_are_refused_with_their_shape(folder: Path) -> None:
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros((12, 14, 56), np.uint8))))
    with pytest.raises(ValueError, match=r"images-idx3-ubyte\.gz: images of \(14, 56\) pixels, expected 28 x 28"):
        load_mnist(folder, train=True)


def test_no_more_is_unpacked_than_the_header_tells(tmp_path: Path) -> None:
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    bomb = gzip.compress(idx(np.zeros((10, 28, 28), np.uint8)) + bytes(200 << 20), 1)
    huge = gzip.compress(b"\0\0\x08\x03" + struct.pack(">III", 2**31, 2**31, 2**31) + bytes(1000))
    for content, message in ((bomb, "7841 or more bytes follow"), (huge, r"header tells \[2147483648, ")):
        path.write_bytes(content)
        tracemalloc.start()
        with pytest.raises(ValueError, match=message):
            read_idx(path, dimensions=3)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20  # bytes: the bomb holds 200 times as many
        tracemalloc.stop()


def test_the_real_mnist() -> None:
    if not REAL.is_dir():
        pytest.skip("the real MNIST is not beside this checkout")
    images, labels = load_mnist(REAL, train=False).tensors
    assert images.shape == (10_000, 1, 28, 28)
    assert labels[:5].tolist() == [7, 2, 1, 0, 4]  # the test set's well-known start
    assert len(read_idx(REAL / "train-labels-idx1-ubyte.gz", dimensions=1)) == 60_000


def test_digits_are_split_without_overlap() -> None:
    train, test = load_digits(train=True), load_digits(train=False)
    assert (len(train), len(test)) == (1437, 360)
    pictures = {tuple(image.flatten().tolist()) for image in test.tensors[0]}
    assert not any(tuple(image.flatten().tolist()) in pictures for image in train.tensors[0])
    assert train.tensors[0].amin() == 0
    assert train.tensors[0].amax() == 1
    assert torch.bincount(test.tensors[1]).min() >= 34  # stratified: 360 samples of 10 classes


def test_batches_cover_every_sample_once() -> None:
    data = head(load_digits(train=True), 103)
    shuffled = batches(data, 20, shuffle=True, generator=torch.Generator().manual_seed(0))
    assert [len(labels) for _, labels in shuffled] == [20] * 5 + [3]
    seen = torch.cat([x.flatten(1) for x, _ in shuffled])
    assert torch.equal(seen.sum(0), data.tensors[0].flatten(1).sum(0))
    with pytest.raises(ValueError, match="batch_size"):
        batches(data, 0)
    with pytest.raises(ValueError, match="at least 1"):
        head(data, 0)
