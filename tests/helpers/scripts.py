"""Runs a script with other values in its settings, so that teaching code needs no switch for the tests."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any


def run_with(path: Path, settings: dict[str, Any]) -> None:
    """Run a script as ``python path`` does, but for the values of some names that it assigns at its top level.

    Raises:
        AssertionError: If it does not assign each of these names once.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    changed: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in settings:
            name = node.targets[0].id
            node.value = ast.copy_location(ast.Constant(settings[name]), node.value)
            changed.append(name)
    assert sorted(changed) == sorted(settings), f"{path.name} assigns {changed} of the settings {sorted(settings)}"
    exec(compile(tree, str(path), "exec"), {"__name__": "__main__", "__file__": str(path)})
