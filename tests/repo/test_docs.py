"""The documentation is true where it can be tried: its code runs, its commands parse, its tables are made."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

import snntorch_brp
from snntorch_brp import consolidation_named, propagation_named
from snntorch_brp.cli import build_parser

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
TEXTS = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
PLACEHOLDER = re.compile(r"\b(TASK|COMMAND|RUN|RULE|SEED)\b|\||\.\.\.")  # stands for something, so it is no command


def beside(name: str) -> ModuleType:
    """One of the scripts in docs/."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks() -> list[tuple[str, str]]:
    """Python blocks of all pages, each with a name."""
    found = []
    for page in PAGES:
        code = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
        found += [(f"{page.name} {number}", block) for number, block in enumerate(code, 1)]
    return found


@pytest.mark.parametrize(("name", "code"), blocks())
def test_a_block_fits_the_page(name: str, code: str) -> None:
    """On a screen of 1280 pixels a line of code has room for about 88 characters; the rest would be out of sight."""
    assert max(map(len, code.splitlines())) <= 88


SLOW = {"runs.md 1": pytest.mark.slow}  # trains by a command of its own
CODE = [pytest.param(name, code, id=name, marks=SLOW.get(name, ())) for name, code in blocks()]


@pytest.mark.parametrize(("name", "code"), CODE)
def test_a_block_runs_in_itself(name: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    torch.manual_seed(0)
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(code, name, "exec"), {"__name__": "docs"})


def commands() -> list[str]:
    """Every ``snntorch-brp`` command in a block or between backticks, continued lines put together."""
    found = set()
    for path in TEXTS:
        text = path.read_text().replace("\\\n", " ")
        shell = [
            line for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL) for line in block.splitlines()
        ]
        inline = [" ".join(span.split()) for span in re.findall(r"`([^`]*snntorch-brp [^`]*)`", text)]
        for line in [*shell, *inline]:
            found |= {part.strip() for part in line.split("&&") if part.strip().startswith("snntorch-brp ")}
    return sorted(command for command in found if not PLACEHOLDER.search(command))


@pytest.mark.parametrize("command", commands())
def test_a_command_names_what_there_is(command: str) -> None:
    """A command that is only named, without its arguments, has at least help."""
    arguments = shlex.split(command)[1:]
    if len(arguments) > 1:
        build_parser().parse_args(arguments)
        return
    with pytest.raises(SystemExit) as end:
        build_parser().parse_args([*arguments, "--help"])
    assert end.value.code == 0


def test_scripts_that_are_named_exist() -> None:
    named = {
        name
        for path in TEXTS
        for name in re.findall(r"python ((?:benchmarks|examples|docs)/\w+\.py)", path.read_text())
    }
    assert len(named) > 8
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_rules_of_the_page_are_those_of_the_code() -> None:
    """Each row of its tables names a class and the name that the command line knows it by."""
    rows = re.findall(
        r"^\| `(\w+)\(\)`, `([\w-]+)`(?: \(also ([^)]*)\))?", (DOCS / "rules.md").read_text(), re.MULTILINE
    )
    assert len(rows) >= 12
    for kind, name, aliases in rows:
        named = (
            propagation_named
            if issubclass(getattr(snntorch_brp, kind), snntorch_brp.Propagation)
            else consolidation_named
        )
        assert type(named(name)).__name__ == kind
        for alias in re.findall(r"`([\w-]+)`", aliases):
            assert type(named(alias)).__name__ == kind


@pytest.mark.parametrize("table", ["neurons", "modules", "refusals", "rules", "tasks", "house"])
def test_a_table_is_made_from_the_code(table: str) -> None:
    rows = getattr(beside("facts"), table)().splitlines()
    assert len(rows) > 5
    cells = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
    assert len(cells) == 1, "each row has as many cells as the head"
    assert "| yes | yes | yes | yes |" in rows[2] or table != "neurons"


def test_examples_become_notebooks() -> None:
    """Cells are what lies between the marks, in order; no line of code is lost."""
    notebooks = beside("make_notebooks")
    for path in notebooks.examples():
        script = path.read_text()
        cells = notebooks.cells(script)
        assert cells[0][0] == "markdown"
        assert cells[0][1].startswith("# ")
        code = "\n".join(text for kind, text in cells if kind == "code")
        compile(code, str(path), "exec")
        lines = [line for line in script.splitlines() if line.strip() and not line.startswith("#")]
        assert [line for line in code.splitlines() if line.strip() and not line.startswith("#")] == lines


def test_running_a_notebook_keeps_what_cells_print(tmp_path: Path) -> None:
    script = tmp_path / "small.py"
    script.write_text("# %% [markdown]\n# # Title\n\n# %%\nx = 2\nprint(x)\n\n# %%\nprint(x + 1)\n")
    outputs = beside("make_notebooks").run(script)
    assert [outputs[cell][0]["text"] for cell in (1, 2)] == [["2\n"], ["3\n"]]


def test_pages_and_pictures_that_are_linked_exist() -> None:
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            made = (
                target.startswith("tutorials/") and (ROOT / "examples" / Path(target).name).with_suffix(".py").exists()
            )
            if not made and not (DOCS / target).exists():
                broken.append(f"{page.name}: {target}")
    assert broken == []
