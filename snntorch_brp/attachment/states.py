"""States of neurons: tensors, or tuples of them, as DeltaLeaky has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import Tensor


def tensors_in(values: Iterable[Any]) -> Iterator[Tensor]:
    """All tensors among the values, also those in tuples."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple):
            yield from tensors_in(value)


def mapped(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """The value with each of its tensors, also those in tuples, replaced."""
    if isinstance(value, Tensor):
        return function(value)
    return tuple(mapped(part, function) for part in value) if type(value) is tuple else value
