"""The README's Python runs, each block in itself, and learns."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS, ids=[f"block {number}" for number in range(1, len(BLOCKS) + 1)])
def test_a_block_runs_in_itself_and_ends_with_an_accuracy(code: str) -> None:
    """Chance is 10 %; five epochs bring these networks to about 90 %, whatever the processor rounds like."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(README), "exec"), {"__name__": "readme"})
    found = re.search(r"accuracy (\d+\.\d+)\s?%", printed.getvalue())
    assert found, f"no accuracy in {printed.getvalue()!r}"
    assert float(found[1]) > 80


def test_the_first_block_is_short() -> None:
    assert len(BLOCKS) >= 2
    assert len([line for line in BLOCKS[0].splitlines() if line]) <= 15
