"""Turns the scripts in ``examples/`` into notebooks, and runs them: ``python docs/make_notebooks.py [NAME ...]``.

A script is in the percent format: ``# %%`` starts a cell of code, ``# %% [markdown]`` one of text. What a cell prints,
and the figures it writes, are kept in ``docs/tutorials/NAME.ipynb``; building the site runs nothing.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "docs" / "tutorials"
LONGEST = 4000  # characters kept of what a cell prints


def examples() -> list[Path]:
    """The scripts, in the order of the alphabet."""
    return sorted((ROOT / "examples").glob("*.py"))


def cells(script: str) -> list[tuple[str, str]]:
    """Cells of a script in the percent format: pairs of "markdown" or "code", and the text."""
    found: list[tuple[str, list[str]]] = []
    for line in script.splitlines():
        if line.startswith("# %%"):
            found.append(("markdown" if "[markdown]" in line else "code", []))
        elif found:
            found[-1][1].append(line)
        elif line.strip():
            raise ValueError(f"a script starts with a cell, '# %%', and not with {line!r}")
    return [
        (kind, "\n".join(_uncommented(lines) if kind == "markdown" else lines).strip("\n")) for kind, lines in found
    ]


def _uncommented(lines: list[str]) -> list[str]:
    return [line.removeprefix("#").removeprefix(" ") for line in lines]


def notebook(script: str, outputs: dict[int, list[dict[str, Any]]] | None = None) -> dict[str, Any]:
    """A notebook (format 4.5) of a script, with the outputs of its cells by their number."""
    made = []
    for number, (kind, text) in enumerate(cells(script)):
        cell: dict[str, Any] = {
            "cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": text.splitlines(keepends=True)
        }  # fmt: skip
        if kind == "code":
            cell |= {"execution_count": None, "outputs": (outputs or {}).get(number, [])}
        made.append(cell)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def run(path: Path) -> dict[int, list[dict[str, Any]]]:
    """Outputs of each cell of a script, run from top to bottom in a folder of its own."""
    names: dict[str, Any] = {"__name__": "__main__", "__file__": str(path)}
    outputs: dict[int, list[dict[str, Any]]] = {}
    here, argv, seen = Path.cwd(), sys.argv, set()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        sys.argv = [str(path)]
        try:
            for number, (kind, text) in enumerate(cells(path.read_text())):
                if kind != "code":
                    continue
                printed = io.StringIO()
                with contextlib.redirect_stdout(printed):
                    exec(compile(text, str(path), "exec"), names)
                outputs[number] = _stream(printed.getvalue())
                for picture in sorted(set(Path(folder).glob("*.png")) - seen):
                    seen.add(picture)
                    outputs[number].append(_picture(picture.read_bytes()))
        except SystemExit as end:  # an example whose library is not installed says so
            outputs[number] = _stream(str(end))
        finally:
            os.chdir(here)
            sys.argv = argv
    return outputs


def _stream(text: str) -> list[dict[str, Any]]:
    if not text:
        return []
    return [{"output_type": "stream", "name": "stdout", "text": [text[:LONGEST]]}]


def _picture(png: bytes) -> dict[str, Any]:
    return {"output_type": "display_data", "data": {"image/png": base64.b64encode(png).decode()}, "metadata": {}}


def main(wanted: list[str]) -> None:
    """Run the examples named, or all, each in a process of its own."""
    NOTEBOOKS.mkdir(exist_ok=True)
    names = wanted or [path.stem for path in examples()]
    if len(names) > 1:
        for name in names:
            print(name, flush=True)
            subprocess.run([sys.executable, __file__, name], check=True, env=os.environ | {"MPLBACKEND": "agg"})
        return
    path = ROOT / "examples" / f"{names[0]}.py"
    made = notebook(path.read_text(), run(path))
    (NOTEBOOKS / f"{path.stem}.ipynb").write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
