"""Tables of what can be chosen by name, and the user's own things as ``module:NAME``."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Generic, TypeVar

Kind = TypeVar("Kind")


@dataclass(frozen=True, kw_only=True)
class Named(Generic[Kind]):
    """One line of a table: how the thing is made, and how figures show it.

    Attributes:
        make: Makes it, with its usual options.
        title: What figures and tables call it.
        color: Of its line in every figure.
        aliases: Other names of it.
    """

    make: Callable[[], Kind]
    title: str
    color: str
    aliases: tuple[str, ...] = ()


Line = TypeVar("Line", bound=Named)


def table(lines: Mapping[str, Line]) -> Mapping[str, Line]:
    """The lines, once it is certain that no two share a name, a title or a color.

    Raises:
        ValueError: If two do; it is raised when the module of the table is imported.
    """
    names = [name for key, line in lines.items() for name in (key, *line.aliases)]
    for what, values in (
        ("name", names),
        ("title", [line.title for line in lines.values()]),
        ("color", [line.color for line in lines.values()]),
    ):
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise ValueError(f"two lines of the table have the {what} {twice[0]!r}")
    wrong = [name for name in names if name != name.lower() or ":" in name]
    if wrong:
        raise ValueError(f"{wrong[0]!r} cannot be a name: small letters, and no colon, which is for module:NAME")
    return lines


def canonical(name: str, lines: Mapping[str, Named]) -> str:
    """The key of a table's line for any of its names, in any case; other names as they are."""
    key = name.lower()
    return next((own for own, line in lines.items() if key in (own, *line.aliases)), name)


def make(name: str, lines: Mapping[str, Named[Kind]], kind: type[Kind]) -> Kind:
    """What a name means: a line of the table, or a class of the user's own.

    Args:
        name: A key or alias of ``lines``, in any case, or ``module:Class``.
        lines: The table.
        kind: The class that everything in it is an instance of.

    Raises:
        ValueError: If there is no such thing, or it is of another kind; the message says what there is.
    """
    key = canonical(name, lines)
    if key in lines:
        return lines[key].make()
    what = kind.__name__.lower()
    if ":" not in name:
        aliases = [f"{alias} = {key}" for key, line in lines.items() for alias in line.aliases]
        also = f" (and {', '.join(aliases)})" if aliases else ""
        raise ValueError(f"there is no {what} {name!r}; there are: {', '.join(lines)}{also}, or module:Class of yours")
    found = load(name, what)
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise ValueError(f"{what} {name!r} is no subclass of snntorch_brp.{kind.__name__}")
    try:
        return found()
    except TypeError as error:
        raise ValueError(f"{what} {name!r} must be made without arguments: {error}") from error


def load(name: str, what: str) -> Any:
    """The user's object ``module:NAME``.

    Args:
        name: Module, as for ``import``, and the name in it.
        what: What it is, for messages.

    Raises:
        ValueError: If there is no such module, or no such name in it.
    """
    module, _, attribute = name.partition(":")
    if not module or module.startswith(".") or not attribute.isidentifier():
        raise ValueError(f"{what} {name!r}: write module:NAME")
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"{what} {name!r}: {error}; is the module's folder on PYTHONPATH?") from error
    except Exception as error:  # the user's own code
        raise ValueError(f"{what} {name!r}: {module} cannot be imported: {type(error).__name__}: {error}") from error
    if not hasattr(found, attribute):
        raise ValueError(f"{what} {name!r}: {module} has no {attribute!r}")
    return getattr(found, attribute)


Setting = TypeVar("Setting")


def of_layer(patterns: Mapping[str, Setting], layer: str) -> Setting:
    """The setting of the first pattern that a layer's name matches.

    Args:
        patterns: Settings by name, or by pattern with ``*`` and ``?``.
        layer: The layer's name in its network, as in ``named_modules``.

    Raises:
        ValueError: If none matches.

    Example:
        >>> of_layer({"conv1*": 4, "*": 2}, "conv1_lif"), of_layer({"conv1*": 4, "*": 2}, "conv3_lif")
        (4, 2)
    """
    for pattern, setting in patterns.items():
        if fnmatchcase(layer, pattern):
            return setting
    raise ValueError(f"no setting for layer '{layer}': none of {', '.join(map(repr, patterns))} matches; add '*'")
