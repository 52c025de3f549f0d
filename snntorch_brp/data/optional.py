"""Import what only some data sets need, with the install command where it is missing."""

from __future__ import annotations

import importlib
from types import ModuleType

EVENTS = "snntorch-brp[events]"
SPEECH = "snntorch-brp[speech]"


def require(module: str, *, install: str) -> ModuleType:
    """Import ``module``; where it is missing, say what to hand to ``pip install``.

    Example:
        >>> require("math", install="snntorch-brp[events]").pi > 3
        True

    Raises:
        ImportError: If the module is not installed; the message holds the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{module} could not be imported ({error}); install it with: pip install '{install}'"
        ) from error
