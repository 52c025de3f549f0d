"""What a layer says of its places: rates pooled to a grid, or how they spread over the places, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Places = int | Literal["std"] | None
"""A grid of so many regions along each axis; "std", the standard deviation over places; None for every place."""

_POOLS: dict[int, Callable[..., Tensor]] = {3: F.adaptive_avg_pool1d, 4: F.adaptive_avg_pool2d}
_EVEN = 1e-6  # added to a variance, so that a channel that is the same everywhere has a gradient


def check_places(places: Places) -> None:
    """Raise a ValueError if ``places`` is no grid, not "std" and not None."""
    whole = isinstance(places, int) and not isinstance(places, bool) and places >= 1
    if not (whole or places in (None, "std")):
        raise ValueError(f"places must be a whole number of at least 1, 'std' or None, got {places!r}")


def over_places(rate: Tensor, places: Places) -> Tensor:
    """Rates of a layer, as its rule compares them.

    Args:
        rate: ``[B, C, *places]``, of one or two axes of places; a layer without places, ``[B, N]``, is left as it is.
        places: An axis shorter than the grid is left as it is, too.

    Returns:
        ``[B, M]``; a convolution's M is C times the number of regions, or C with "std".

    Example:
        >>> over_places(torch.tensor([[[0.0, 1.0, 1.0, 1.0]]]), 2).tolist()
        [[0.5, 1.0]]
    """
    if places is None or rate.dim() < 3:
        return rate.flatten(1)
    if places == "std":
        return (rate.flatten(2).var(2, correction=0) + _EVEN).sqrt()
    grid = [min(places, size) for size in rate.shape[2:]]
    return _POOLS[rate.dim()](rate, grid).flatten(1)


def with_adjoint(rate: Tensor, places: Places) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """:func:`over_places`, and what brings a gradient ``[B, M]`` at it back to the rates, ``[B, *]``."""
    if places is None or rate.dim() < 3:
        return rate.flatten(1), lambda gradient: gradient.view_as(rate)
    with torch.enable_grad():
        leaf = rate.detach().requires_grad_()
        seen = over_places(leaf, places)
    return seen.detach(), lambda gradient: torch.autograd.grad(seen, leaf, gradient)[0]
