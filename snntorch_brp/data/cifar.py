"""CIFAR-10 from its owner's binary or python distribution."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import TensorDataset

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_LAYOUT = """\
CIFAR-10 is at https://www.cs.toronto.edu/~kriz/cifar.html; unpack the binary or the python version:
  DIR/cifar-10-batches-bin/data_batch_1.bin ... data_batch_5.bin, test_batch.bin
  DIR/cifar-10-batches-py/data_batch_1 ... data_batch_5, test_batch"""
PIXELS = 3 * 32 * 32


def load_cifar10(root: str | Path, *, train: bool) -> TensorDataset:
    """CIFAR-10's images.

    Args:
        root: The folder of the distribution, binary or python, or the one above it.
        train: The 50,000 training images of five files, or the 10,000 test images.

    Returns:
        Images ``[N, 3, 32, 32]`` in 0..1 and labels ``[N]`` in 0..9.

    Raises:
        FileNotFoundError: If a file is missing; the message tells the layout and where the set is offered.
        ValueError: If a file is damaged; the message names it.
    """
    images, labels = zip(*(read(path) for path, read in cifar10_files(Path(root), train=train)), strict=True)
    return TensorDataset(torch.cat(images).float().div_(255), torch.cat(labels))


def cifar10_files(root: Path, *, train: bool) -> list[tuple[Path, Callable[[Path], tuple[Tensor, Tensor]]]]:
    """The files of one half and how each is read.

    Raises:
        FileNotFoundError: If one is missing.
    """
    names = [f"data_batch_{i}" for i in range(1, 6)] if train else ["test_batch"]
    for folder in (root / "cifar-10-batches-bin", root / "cifar-10-batches-py", root):
        for suffix, read in ((".bin", read_binary), ("", read_python)):
            paths = [folder / (name + suffix) for name in names]
            if any(path.is_file() for path in paths):
                missing = [path.name for path in paths if not path.is_file()]
                if missing:
                    raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}.\n{CIFAR10_LAYOUT}")
                return [(path, read) for path in paths]
    raise FileNotFoundError(f"no CIFAR-10 under {root}.\n{CIFAR10_LAYOUT}")


def read_binary(path: Path) -> tuple[Tensor, Tensor]:
    """A file of the binary version: records of a label byte and 3,072 bytes, red, green and blue planes.

    Returns:
        Images uint8 ``[N, 3, 32, 32]`` and labels ``[N]``.

    Raises:
        ValueError: If it is truncated or its labels are out of range.
    """
    data = np.frombuffer(path.read_bytes(), np.uint8)
    if len(data) == 0 or len(data) % (1 + PIXELS):
        raise ValueError(f"{path}: {len(data)} bytes are no whole number of records of {1 + PIXELS}: truncated?")
    records = data.reshape(-1, 1 + PIXELS)
    return _checked(path, records[:, 1:], records[:, 0].astype(np.int64))


def read_python(path: Path) -> tuple[Tensor, Tensor]:
    """A file of the python version, a pickle, of which nothing is executed.

    Returns:
        Images uint8 ``[N, 3, 32, 32]`` and labels ``[N]``.

    Raises:
        ValueError: If it is no such pickle, asks for anything but arrays, or is damaged.
    """
    try:
        batch = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        pixels, labels = batch[b"data"].array(), _integers(batch[b"labels"])
    except Exception as error:  # a damaged pickle fails in every way there is
        raise ValueError(f"{path}: not a batch of CIFAR-10, or a damaged one: {error!r}") from error
    return _checked(path, pixels, labels)


def _integers(labels: object) -> NDArray[np.int64]:
    if not isinstance(labels, list) or any(type(label) is not int or not 0 <= label < 256 for label in labels):
        raise ValueError("the labels are no list of whole numbers")
    return np.array(labels, dtype=np.int64)


def _checked(path: Path, pixels: NDArray[Any], labels: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    if pixels.shape != (len(labels), PIXELS):
        raise ValueError(f"{path}: pixels of shape {pixels.shape} for {len(labels)} labels; expected {PIXELS} each")
    if not len(labels):
        raise ValueError(f"{path}: holds no images")
    if labels.min() < 0 or labels.max() > 9:
        raise ValueError(f"{path}: labels run from {labels.min()} to {labels.max()}; expected 0..9")
    return torch.from_numpy(pixels.reshape(-1, 3, 32, 32).copy()), torch.from_numpy(labels)


class _Array:
    """Stands in for a NumPy array while a pickle is read, and keeps what the pickle says about it."""

    def __init__(self, *_: object) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def array(self) -> NDArray[np.uint8]:
        _, shape, _, fortran, content = self.state  # version, shape, dtype, order, bytes
        return np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran else "C")


class _ArraysOnly(pickle._Unpickler):
    """An unpickler whose pickles can make arrays (as stand-ins) and plain Python values, and call nothing else.

    The one in Python, not the one in C, which sets aside as much memory as a damaged opcode tells it to.
    """

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        if module.split(".")[0] == "numpy" and name in ("_reconstruct", "ndarray", "dtype"):
            return _Array
        if (module, name) == ("_codecs", "encode"):  # Python 3's way to write bytes for Python 2
            return lambda text, _: str(text).encode("latin1")
        raise pickle.UnpicklingError(f"asks for {module}.{name}, which a batch has no use for: refused")
