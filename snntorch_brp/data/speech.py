"""Spoken digits: TIDigits and the Free Spoken Digit Dataset, as spikes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from snntorch_brp.data.audio import read_audio
from snntorch_brp.data.cache import Cache
from snntorch_brp.data.events import inside
from snntorch_brp.data.filterbank import FilterBank
from snntorch_brp.data.recordings import BadRecording, OnBad, Recording, read_all
from snntorch_brp.encoding import rate_encode

TIDIGITS_LAYOUT = """\
TIDigits is sold by the Linguistic Data Consortium: https://catalog.ldc.upenn.edu/LDC93S10
  DIR/tidigits/{train,test}/{man,woman,boy,girl}/{speaker}/{digits}{a,b}.wav"""
FSDD_LAYOUT = """\
The Free Spoken Digit Dataset is at https://github.com/Jakobovski/free-spoken-digit-dataset
  DIR/recordings/{digit}_{speaker}_{index}.wav"""

TIDIGITS_LABELS = {"z": 0, **{str(digit): digit for digit in range(1, 10)}}  # "o", oh, is left out
TIDIGITS_RATE = 20000
FSDD_RATE = 8000


Layout = Literal["1d", "2d"]


@dataclass(frozen=True)
class SpeechSpikes:
    """Encoder: filter bank energies of a batch to spikes (eq. 3), time first, on the batch's device.

    Attributes:
        layout: "1d" shows the network one frame a time step, its bands side by side, as a cochlea would; "2d"
            shows all frames at every step, as an image of frames by bands.
        steps: T, for "2d"; "1d" has a step for each frame.
        alpha: α of eq. 3; 0.1 in the paper.
        generator: Of the random draw, on the batch's device.

    Example:
        >>> SpeechSpikes("1d")(torch.rand(5, 30, 30)).shape
        torch.Size([30, 5, 1, 30])
        >>> SpeechSpikes("2d", steps=20)(torch.rand(5, 30, 30)).shape
        torch.Size([20, 5, 1, 30, 30])
    """

    layout: Layout
    steps: int = 30
    alpha: float = field(default=0.1, kw_only=True)
    generator: torch.Generator | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Check the layout."""
        if self.layout not in ("1d", "2d"):
            raise ValueError(f'layout is {self.layout!r}; expected "1d" or "2d"')

    def __call__(self, energies: Tensor) -> Tensor:
        """[B, frames, bands] in 0..1 to [T, B, 1, bands] ("1d") or [T, B, 1, frames, bands] ("2d")."""
        if self.layout == "2d":
            return rate_encode(energies.unsqueeze(1), self.steps, alpha=self.alpha, generator=self.generator)
        spikes = rate_encode(energies, 1, alpha=self.alpha, generator=self.generator)
        return spikes.squeeze(0).transpose(0, 1).unsqueeze(2)


def load_energies(
    recordings: Sequence[Recording],
    bank: FilterBank,
    *,
    device: torch.device | str = "cpu",
    cache: Cache | None = None,
    on_bad: OnBad = "error",
    progress: Callable[[Sequence[Recording]], Sequence[Recording]] = lambda recordings: recordings,
) -> tuple[list[Recording], Tensor, list[BadRecording]]:
    """Filter bank energies of every recording, computed on ``device``.

    Args:
        recordings: What a ``find_...`` function found.
        bank: The filters.
        device: Where they are applied.
        cache: Keeps the energies on disk; computed anew each time when None.
        on_bad: "error" ends with a damaged recording, "skip" leaves it out.
        progress: Wraps the recordings, as tqdm does, to show how far it has come.

    Returns:
        The recordings used, their energies [N, frames, bands] float32 on the CPU, and what was wrong with the
        others.

    Raises:
        BadRecording: See :func:`~.recordings.read_all`.
    """

    def compute(recording: Recording) -> np.ndarray:
        samples, rate = recording.load()
        return bank(samples.to(device), rate).cpu().numpy()

    def decode(recording: Recording) -> np.ndarray:
        if cache is None:
            return compute(recording)
        return cache.get(recording.path, {"decoder": recording.decoder, **asdict(bank)}, lambda: compute(recording))

    good, arrays, bad = read_all(progress(recordings), decode, on_bad=on_bad)
    return good, torch.from_numpy(np.stack(arrays)), bad


def find_tidigits(root: Path) -> list[Recording]:
    """The isolated digits of TIDigits, zero to nine: each said twice by each speaker, oh left out.

    Raises:
        FileNotFoundError: If there are none.
    """
    root = inside(root, "tidigits")
    found = []
    for path in sorted(p for p in root.glob("*/*/*/*") if p.suffix.lower() == ".wav"):
        split, group, speaker, name = (part.lower() for part in path.relative_to(root).parts)
        match = re.fullmatch(r"([zo1-9]+)[ab]\.wav", name)
        if match and (len(match[1]) > 1 or match[1] == "o"):
            continue  # a sequence of digits, or oh
        problem = "" if match else f"{path.name!r} names no digits: expected e.g. 5a.wav or zb.wav"
        if split not in ("train", "test") or group not in ("man", "woman", "boy", "girl"):
            problem = f"the folder {split}/{group} is none of TIDigits'"
        label = TIDIGITS_LABELS[match[1]] if match else -1
        load = partial(read_audio, path, rate=TIDIGITS_RATE)
        found.append(Recording(path, label, load, split, speaker, problem))
    if not found:
        raise FileNotFoundError(f"no isolated digits of TIDigits under {root}.\n{TIDIGITS_LAYOUT}")
    return found


def find_fsdd(root: Path) -> list[Recording]:
    """The recordings of the Free Spoken Digit Dataset; its own test set is the indices 0 to 4.

    Raises:
        FileNotFoundError: If there are none.
    """
    folder = next(
        (f for f in (root / "recordings", root / "fsdd" / "recordings", root) if any(f.glob("*_*_*.[wW][aA][vV]"))),
        root,
    )
    found = []
    for path in sorted(folder.glob("*.[wW][aA][vV]")):
        match = re.fullmatch(r"(\d)_(\w+)_(\d+)", path.stem)
        label, speaker, index = (int(match[1]), match[2], int(match[3])) if match else (-1, "", -1)
        problem = "" if match else f"{path.name!r} is not named {{digit}}_{{speaker}}_{{index}}.wav"
        load = partial(read_audio, path, rate=FSDD_RATE)
        found.append(Recording(path, label, load, "test" if 0 <= index < 5 else "train", speaker, problem))
    if not any(r.label >= 0 for r in found):
        raise FileNotFoundError(f"no recordings of the Free Spoken Digit Dataset under {root}.\n{FSDD_LAYOUT}")
    return found
