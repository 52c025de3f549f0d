"""Old names that still work, with a warning."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any


def renamed(module: str, names: Mapping[str, tuple[str, Any]]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a module some of whose names have changed.

    Args:
        module: The module's own ``__name__``.
        names: For each old name the new one, as an import would write it, and what it stands for.
    """

    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module '{module}' has no attribute '{name}'")
        new, value = names[name]
        warnings.warn(f"{module}.{name} is now {new}, and the old name will go", DeprecationWarning, stacklevel=2)
        return value

    return find
