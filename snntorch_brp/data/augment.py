"""More samples from those there are: images turned, scaled, sheared, moved and mirrored."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class RandomAffine:
    """Change every image of a batch by an amount of its own, each drawn evenly from its range; outside is 0.

    Attributes:
        degrees: Turned by at most so much, either way.
        scale: Made larger or smaller by at most this share, each axis on its own.
        shear: Slanted by at most this share of its height.
        shift: Moved by at most so many pixels along each axis.
        mirror: Left and right exchanged in half of the images.

    Raises:
        ValueError: If a range is negative, or a scale of 1 or more would leave nothing.

    Example:
        >>> change = RandomAffine(degrees=10, shift=2)
        >>> change(torch.rand(5, 1, 28, 28), generator=torch.Generator().manual_seed(0)).shape
        torch.Size([5, 1, 28, 28])
    """

    degrees: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    mirror: bool = False

    def __post_init__(self) -> None:
        if min(self.degrees, self.scale, self.shear, self.shift) < 0 or self.scale >= 1:
            raise ValueError(f"ranges must not be negative, and scale stay below 1, got {self}")

    def __call__(self, images: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """``[B, C, H, W]`` to the same shape.

        Raises:
            ValueError: If these are no images.
        """
        if images.dim() != 4:
            raise ValueError(f"images must have the shape [B, C, H, W], got {tuple(images.shape)}")
        count, _, height, width = images.shape

        def drawn(most: float) -> Tensor:
            return (torch.rand(count, generator=generator) * 2 - 1) * most

        angle, slant = torch.deg2rad(drawn(self.degrees)), drawn(self.shear)
        across, down = 1 + drawn(self.scale), 1 + drawn(self.scale)
        right, below = drawn(2 * self.shift / width), drawn(2 * self.shift / height)
        if self.mirror:
            across = across * torch.randint(0, 2, (count,), generator=generator).mul(2).sub(1)
        cos, sin = angle.cos(), angle.sin()
        # from where in the image each place of the result is taken: turned, slanted, and only then stretched
        aspect = height / width
        rows = (
            *(cos / across, (slant * cos - sin) / across * aspect, right),
            *(sin / down / aspect, (slant * sin + cos) / down, below),
        )
        grid = F.affine_grid(torch.stack(rows, 1).view(count, 2, 3), list(images.shape), align_corners=False)
        return F.grid_sample(images, grid.to(images), align_corners=False)
