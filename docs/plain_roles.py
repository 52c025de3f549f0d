"""Docstrings are written for ``help()`` first: Sphinx roles and literal blocks become plain Markdown here."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r":(?:class|func|meth|mod|attr):`~?([^`]+)`")
EXAMPLE = re.compile(r"^( *)Example:$", flags=re.MULTILINE)  # Griffe knows the section by its plural
LITERAL_BLOCK = re.compile(r"::$", flags=re.MULTILINE)


class PlainRoles(Extension):
    """Rewrites each docstring as it is collected."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """``:class:`a.B``` to ```a.B```, and ``text::`` before a block to ``text:``."""
        if obj.docstring is not None:
            text = ROLE.sub(r"`\1`", obj.docstring.value)
            obj.docstring.value = EXAMPLE.sub(r"\1Examples:", LITERAL_BLOCK.sub(":", text))
