"""Augmentation: whenever a batch of images is read for training, they are cropped and mirrored at random, all at once.

What is drawn follows from a seed and from which samples stand in the batch, in which order: it is another in every
epoch of a shuffled set, and the same in a run that goes on, in worker processes and on any number of devices, without
anything having to be remembered.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random crops and horizontal flips.

    Args:
        padding: Pixels of zeros that are put around an image before a window of its own size is cut out of it.
        flip: Mirror an image from left to right, every other one on average.
        seed: Of all draws.

    Raises:
        ValueError: If ``padding`` is negative.

    Example:
        >>> Augmentation(padding=4, flip=True)(torch.rand(3, 1, 28, 28), [17, 4, 11]).shape
        torch.Size([3, 1, 28, 28])
    """

    padding: int = 0
    flip: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.padding < 0:
            raise ValueError(f"padding must not be negative, got {self.padding}")

    def __call__(self, images: Tensor, batch: Sequence[int], *, part: slice = slice(None)) -> Tensor:
        """Images as they may look.

        Args:
            images: Of ``part`` of the batch, ``[b, C, H, W]``.
            batch: Numbers of all the samples in the batch, in their order.
            part: The rows of this process.

        Raises:
            ValueError: If they are no images.
        """
        if images.dim() != 4:
            raise ValueError(f"images [B, C, H, W] can be augmented, got samples of shape {tuple(images.shape[1:])}")
        key = zlib.crc32(np.asarray(batch, dtype=np.int64).tobytes()) ^ (self.seed & (2**63 - 1))
        generator = torch.Generator().manual_seed(key)
        if self.padding:
            shifts = torch.randint(2 * self.padding + 1, (len(batch), 2), generator=generator)
            images = _windows(F.pad(images, [self.padding] * 4), shifts[part].to(images.device), images.shape[2:])
        if self.flip:
            mirrored = torch.rand(len(batch), generator=generator)[part] < 0.5
            images = torch.where(mirrored.to(images.device).view(-1, 1, 1, 1), images.flip(3), images)
        return images


def _windows(padded: Tensor, corners: Tensor, size: Sequence[int]) -> Tensor:
    """Of each image ``[b, C, H', W']`` the window of a size whose upper left corner is at ``[b, 2]``."""
    b, (height, width) = len(padded), size
    rows = corners[:, :1, None] + torch.arange(height, device=padded.device).view(1, -1, 1)
    columns = corners[:, 1:, None] + torch.arange(width, device=padded.device)
    sample = torch.arange(b, device=padded.device).view(-1, 1, 1)
    return padded[sample, :, rows, columns].permute(0, 3, 1, 2).contiguous()


AUGMENTATIONS: Mapping[str, Augmentation] = {
    "crop-flip": Augmentation(padding=4, flip=True),
    "crop": Augmentation(padding=2),
}
"""By the command line's names: crop-flip for photographs, crop for characters, which read from left to right."""
