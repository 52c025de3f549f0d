"""Images: scikit-learn's digits, and MNIST and Fashion-MNIST from their original IDX files."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

_UINT8 = 0x08  # the IDX format's code of unsigned bytes, the only type that these data sets use
FASHION_CLASSES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
SIDE = 28  # of an image of MNIST, in pixels
LARGEST = 1 << 32  # bytes that a gzipped file may unpack to
_SOURCES = {
    "mnist": "the MNIST database of handwritten digits (LeCun, Cortes, Burges)",
    "fashion-mnist": "Zalando Research's Fashion-MNIST",
}


def load_digits(*, train: bool, test_share: float = 0.2, seed: int = 0) -> TensorDataset:
    """The 1,797 handwritten digits, 8x8, that scikit-learn ships; split at random, class by class.

    Args:
        train: The training part, or the test part.
        test_share: Share of the test part.
        seed: Seed of the split.

    Returns:
        Images ``[N, 1, 8, 8]`` in 0..1 and labels ``[N]`` in 0..9.
    """
    from sklearn.datasets import load_digits as sklearn_digits
    from sklearn.model_selection import train_test_split

    digits = sklearn_digits()
    parts = train_test_split(
        digits.images, digits.target, test_size=test_share, random_state=seed, stratify=digits.target
    )
    images, labels = (parts[0], parts[2]) if train else (parts[1], parts[3])
    return TensorDataset(torch.tensor(images / 16, dtype=torch.float32).unsqueeze(1), torch.tensor(labels).long())


def load_mnist(root: str | Path, *, train: bool, name: str = "mnist") -> TensorDataset:
    """MNIST, or another set in its format such as Fashion-MNIST, from a folder with the four IDX files.

    Args:
        root: Folder of ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte`` and
            ``t10k-labels-idx1-ubyte``, each plain or gzipped.
        train: The 60,000 training images, or the 10,000 test images.
        name: Name of the data set, for messages.

    Returns:
        Images ``[N, 1, 28, 28]`` in 0..1 and labels ``[N]`` in 0..9.

    Raises:
        FileNotFoundError: If the folder or a file is missing.
        ValueError: If a file is damaged or is something else; the message names it and what was found.
    """
    part = "train" if train else "t10k"
    image_path = _find(Path(root), f"{part}-images-idx3-ubyte", name)
    label_path = _find(Path(root), f"{part}-labels-idx1-ubyte", name)
    images, labels = read_idx(image_path, dimensions=3), read_idx(label_path, dimensions=1)
    if images.shape[1:] != (SIDE, SIDE):
        raise ValueError(
            f"{image_path}: images of {tuple(images.shape[1:])} pixels, expected {SIDE} x {SIDE}: another set?"
        )
    if len(images) != len(labels):
        raise ValueError(f"{image_path} has {len(images)} images and {label_path} {len(labels)} labels: mixed sets?")
    if len(labels) and int(labels.max()) > 9:
        raise ValueError(f"{label_path}: labels must lie in 0..9, found {int(labels.max())}")
    return TensorDataset(images.float().div_(255).unsqueeze(1), labels.long())


def read_idx(path: str | Path, *, dimensions: int) -> Tensor:
    """One IDX file of unsigned bytes, plain or gzipped.

    Args:
        path: The file.
        dimensions: Number of dimensions that it must have.

    Returns:
        Its content, uint8.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If its magic number, sizes or length are not what they must be.
    """
    path = Path(path)
    with path.open("rb") as plain:
        packed = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        if not packed:
            return _idx_content(path, plain, dimensions)
        try:
            with gzip.open(plain) as unpacked:
                return _idx_content(path, unpacked, dimensions)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path}: the gzip file is damaged ({error}): fetch it again") from None


def _idx_content(path: Path, file: BinaryIO | gzip.GzipFile, dimensions: int) -> Tensor:
    """What an IDX file holds; no more is read of it than its header tells, and a byte."""
    magic = bytes([0, 0, _UINT8, dimensions])
    found = file.read(4)
    if found != magic:
        raise ValueError(f"{path} is not the IDX file expected: magic number {found.hex()}, not {magic.hex()}")
    header = file.read(4 * dimensions)
    sizes = [size for (size,) in struct.iter_unpack(">I", header)] if len(header) == 4 * dimensions else []
    expected = math.prod(sizes)
    most = min(LARGEST, 1032 * path.stat().st_size)  # deflate packs 1,032 bytes into one at best
    content = file.read(expected + 1) if expected <= most else b""
    if not sizes or len(content) != expected:
        more = " or more" if len(content) > expected else ""
        raise ValueError(
            f"{path} is truncated or has trailing bytes: its header tells {sizes or 'nothing'}, "
            f"{len(content)}{more} bytes follow: fetch it again"
        )
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8).reshape(sizes).copy())


def _find(root: Path, name: str, dataset: str) -> Path:
    for candidate in (root / name, root / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder: name the one that holds {dataset}'s IDX files")
    found = ", ".join(sorted(p.name for p in root.iterdir())[:6]) or "nothing"
    raise FileNotFoundError(
        f"{root} has no {name} or {name}.gz (found: {found}): put there the four IDX files of "
        f"{_SOURCES.get(dataset, dataset)}"
    )
