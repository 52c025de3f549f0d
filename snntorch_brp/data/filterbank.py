"""Log-mel filter bank energies of a spoken word: 30 bands by 30 frames, however long it is.

Window and step follow the duration: with overlap one half and F frames, the step is L // (F + 1) samples and
the window two steps, so that the windows cover the recording. The bands are librosa's filter matrix applied
to :func:`torch.stft`, on whatever device the samples are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from snntorch_brp.data.optional import SPEECH, require
from snntorch_brp.data.recordings import BadRecording

SHORTEST_STEP = 8
"""Samples: with a shorter step a window holds too little to tell 30 bands apart."""


@dataclass(frozen=True)
class FilterBank:
    """Filter bank energies in 0..1; the settings that a cached array depends on.

    Attributes:
        bands: Number of mel bands.
        frames: Number of frames.
        range_db: Energies this far below the recording's largest, or further, become 0.

    Example:
        >>> FilterBank()(torch.randn(4000), rate=8000).shape
        torch.Size([30, 30])
    """

    bands: int = 30
    frames: int = 30
    range_db: float = 60.0

    def __call__(self, samples: Tensor, rate: int) -> Tensor:
        """One recording [L] at ``rate`` Hz to [frames, bands]: 1 + (dB below the loudest) / range, cut at 0.

        Raises:
            BadRecording: If it is too short for that many frames, or its energies are zero or not finite.
        """
        energies = mel_energies(samples, rate, bands=self.bands, frames=self.frames)
        loudest = float(energies.max())
        if not 0 < loudest < float("inf"):
            raise BadRecording(f"the energies of its bands are {loudest} at most: nearly silent, or damaged samples")
        relative = 10 * (energies / energies.max()).clamp(min=1e-20).log10()
        return (1 + relative / self.range_db).clamp(min=0)


def mel_energies(samples: Tensor, rate: int, *, bands: int, frames: int) -> Tensor:
    """Mel band energies as ``librosa.feature.melspectrogram`` gives them (without centering).

    Args:
        samples: [L].
        rate: In Hz.
        bands: Number of mel bands.
        frames: Number of frames.

    Returns:
        [frames, bands], power.

    Raises:
        BadRecording: If the recording is too short for that many frames.
    """
    step, n_fft = steps_of(len(samples), frames)
    window = torch.hann_window(2 * step, device=samples.device, dtype=samples.dtype)
    # stft centers the window in n_fft samples: half the padding on each side lets the first window start at 0
    padding = n_fft // 2 - step
    padded = torch.nn.functional.pad(samples[: (frames + 1) * step], (padding, padding))
    spectrum = torch.stft(padded, n_fft, step, 2 * step, window, center=False, return_complex=True)
    filters = mel_filters(rate, n_fft, bands).to(samples)
    return (filters @ torch.view_as_real(spectrum).square().sum(-1)).T


def steps_of(length: int, frames: int) -> tuple[int, int]:
    """Samples from one window to the next, and the size of the Fourier transform, for a recording's length."""
    step = length // (frames + 1)
    if step < SHORTEST_STEP:
        raise BadRecording(
            f"{length} samples are too short for {frames} frames: expected {SHORTEST_STEP * (frames + 1)} or more"
        )
    return step, max(1024, 1 << (2 * step - 1).bit_length())


@lru_cache(maxsize=64)
def mel_filters(rate: int, n_fft: int, bands: int) -> Tensor:
    """The mel filter matrix of librosa, [bands, n_fft / 2 + 1]."""
    filters = require("librosa", install=SPEECH).filters.mel(sr=rate, n_fft=n_fft, n_mels=bands)
    return torch.from_numpy(filters)
