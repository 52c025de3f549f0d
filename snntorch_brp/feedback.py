"""Fixed random matrices B_l, through which the label reaches each hidden layer."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snntorch_brp.named import of_layer


def draw_feedback(
    num_classes: int,
    shape: Sequence[int],
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One feedback matrix, Kaiming-uniform as in the authors' code: U(-b, b) with b = sqrt(6 / N).

    Drawn on the CPU in float32, whatever torch's defaults are, so that a seed always means the same matrix.

    Args:
        num_classes: Number of classes K.
        shape: Shape of the layer's neurons for one sample, N = prod(shape).
        generator: CPU generator to draw from; torch's own when None.

    Returns:
        Feedback weights, ``[K, *shape]``, float32 on the CPU.

    Raises:
        ValueError: If there are no classes or no neurons.
    """
    neurons = math.prod(shape)
    if num_classes < 1 or neurons < 1:
        raise ValueError(f"feedback needs classes and neurons, got num_classes={num_classes}, shape={tuple(shape)}")
    bound = math.sqrt(6 / neurons)
    matrix = torch.empty(num_classes, *shape, dtype=torch.float32, device="cpu")
    return matrix.uniform_(-bound, bound, generator=generator)


class Feedback(nn.Module):
    """The feedback matrices of a network, drawn layer by layer when a layer is first seen, never trained.

    A matrix depends only on the seed, the layer's name and its shape, so it is the same in every process, in
    both executors and in any order of drawing. The matrices are buffers: ``state_dict`` saves them and
    ``load_state_dict`` brings them back into a fresh instance.

    Args:
        num_classes: Number of classes K.
        generator: Where the seed is drawn from, once; torch's global generator when None.
        regions: Divide the places of a convolutional layer into so many regions along each axis, within which a channel
            has one weight: the layer hears of its class, and reads it, by spatially pooled activity, and B_l takes
            ``K·C·regions²`` numbers, whatever the size of the image. A weight for every neuron when None; a number for
            each layer, by name or pattern: ``{"conv1*": 4, "*": 2}``.

    Raises:
        ValueError: If there are no classes, or no regions.

    Example:
        >>> feedback = Feedback(10, generator=torch.Generator().manual_seed(0))
        >>> feedback.matrix("lif1", (28, 12, 12)).shape
        torch.Size([10, 28, 12, 12])
    """

    seed: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        generator: torch.Generator | None = None,
        regions: int | Mapping[str, int | None] | None = None,
    ) -> None:
        super().__init__()
        for number in regions.values() if isinstance(regions, Mapping) else [regions]:
            if number is not None and number < 1:
                raise ValueError(f"regions must be at least 1, got {number}")
        self.regions = regions
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        self.num_classes = num_classes
        device = generator.device if generator is not None else "cpu"
        self.register_buffer("seed", torch.randint(2**62, (), generator=generator, device=device).cpu())

    def matrix(self, layer: str, shape: Sequence[int], like: Tensor | None = None) -> Tensor:
        """B_l of a layer, ``[K, *shape]``, on the device and in the dtype of ``like``.

        Args:
            layer: The layer's name in its network, as in ``named_modules``.
            shape: Shape of the layer's neurons for one sample.
            like: A tensor to match in device and dtype.

        Raises:
            ValueError: If the layer was seen before with another shape.
        """
        name, kept = _buffer_name(layer), self._kept(layer, shape)
        held = self._buffers.get(name)
        if held is None:
            # Each layer has a generator of its own: no draw depends on another.
            own = torch.Generator().manual_seed(int(self.seed) ^ zlib.crc32(layer.encode()))
            held = draw_feedback(self.num_classes, kept, generator=own) * math.sqrt(math.prod(kept) / math.prod(shape))
        if tuple(held.shape[1:]) != kept:
            raise ValueError(
                f"layer '{layer}' has neurons of shape {tuple(shape)}, but its feedback was drawn for "
                f"{tuple(held.shape[1:])}: feed the network inputs of one size, or attach it anew"
            )
        if like is None:
            like = held
        self._buffers[name] = held = held.to(like.device)
        held = held.to(like.dtype)  # the buffer itself stays in float32, whatever autocast does
        return held if kept == tuple(shape) else F.interpolate(held, size=tuple(shape[1:]))

    def set_matrix(self, layer: str, matrix: Tensor) -> None:
        """Put a matrix of one's own in the place of the one that would be drawn for a layer.

        Args:
            layer: The layer's name in its network, as in ``named_modules``.
            matrix: B_l, ``[K, *shape]``; with regions, ``[K, C, regions, ...]``. It is copied.

        Raises:
            ValueError: If it is not for ``num_classes`` classes.

        Example:
            >>> feedback = Feedback(10)
            >>> feedback.set_matrix("lif1", torch.ones(10, 5))
            >>> feedback.matrix("lif1", (5,)).sum()
            tensor(50.)
        """
        if matrix.dim() < 2 or len(matrix) != self.num_classes:
            raise ValueError(f"a feedback matrix is [K={self.num_classes}, *shape], got shape {tuple(matrix.shape)}")
        self.register_buffer(_buffer_name(layer), matrix.detach().clone())

    def _kept(self, layer: str, shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of what is kept of a layer's matrix, without the classes."""
        regions = of_layer(self.regions, layer) if isinstance(self.regions, Mapping) else self.regions
        if regions is None or len(shape) < 2:
            return tuple(shape)
        return shape[0], *(min(size, regions) for size in shape[1:])

    def learned(self, layer: str, key: str, make: Callable[[], Tensor]) -> Tensor:
        """A value that a rule learns for a layer, saved with the matrices; change it in place.

        Args:
            layer: The layer's name in its network.
            key: What the rule calls it.
            make: Makes the first value; its device is where the value is wanted.

        Example:
            >>> feedback = Feedback(10)
            >>> feedback.learned("lif1", "baseline", lambda: torch.zeros(())).add_(0.5).item()
            0.5
            >>> feedback.learned("lif1", "baseline", lambda: torch.zeros(())).item()
            0.5
        """
        name, first = _buffer_name(layer, _LEARNED) + ":" + key, make()
        held = self._buffers.get(name)
        held = first.detach().clone() if held is None else held.to(first.device)
        self._buffers[name] = held
        return held

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        for key, value in state_dict.items():
            name = key[len(prefix) :]
            if key.startswith(prefix) and name.startswith((_PREFIX, _LEARNED)) and name not in self._buffers:
                self.register_buffer(name, torch.empty_like(value))
        super()._load_from_state_dict(state_dict, prefix, *args)


_PREFIX = "layer:"
_LEARNED = "learned:"


def _buffer_name(layer: str, prefix: str = _PREFIX) -> str:
    """One name for each layer: a buffer's must not contain a dot, and a module's own may contain a slash."""
    return prefix + layer.replace("~", "~0").replace("/", "~1").replace(".", "/")
