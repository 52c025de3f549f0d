"""What the README shows runs: each Python block in itself, each command on fewer samples."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest
import torch

from snntorch_brp.cli import build_parser, main

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
SHELL = [
    line
    for block in re.findall(r"```bash\n(.*?)```", README.read_text(), flags=re.DOTALL)
    for line in block.splitlines()
]
COMMANDS = [line for line in SHELL if line.startswith("snntorch-brp ")]
FEW = ["--epochs", "1", "--limit-train", "100", "--limit-test", "50", "--model", "64-20-10", "--steps", "4"]


@pytest.mark.parametrize("code", BLOCKS, ids=[f"block {number}" for number in range(1, len(BLOCKS) + 1)])
def test_a_block_runs_in_itself_and_ends_with_an_accuracy(code: str) -> None:
    """Chance is 10 %; five epochs bring these networks to about 90 %, whatever the processor rounds like."""
    torch.manual_seed(0)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(README), "exec"), {"__name__": "readme"})
    found = re.search(r"accuracy (\d+\.\d+)\s?%", printed.getvalue())
    assert found, f"no accuracy in {printed.getvalue()!r}"
    assert float(found[1]) > 80


def test_the_first_block_is_short() -> None:
    assert len(BLOCKS) == 2
    assert len([line for line in BLOCKS[0].splitlines() if line]) <= 20


def test_two_commands_set_everything_up() -> None:
    """The first line installs and trains, the other installs and tests; .ci/run takes the latter from here."""
    assert [line for line in SHELL if line.startswith("pip ")] == [
        "pip install -c constraints.txt . && snntorch-brp train digits",
        "pip install -c constraints.txt '.[test]' && pytest",
    ]


def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Those on digits, on few samples; the others at least name options that there are."""
    monkeypatch.chdir(tmp_path)
    ran = []
    for command in COMMANDS:
        arguments = shlex.split(command)[1:]
        args = build_parser().parse_args(arguments)
        if args.run.__name__ == "run_train" and args.task == "digits":
            assert main([*arguments, *FEW]) == 0
            ran.append("train")
        elif args.run.__name__ == "run_evaluate":
            assert main([*arguments, "--limit-test", "50"]) == 0
            ran.append("evaluate")
    assert ran == ["train", "evaluate"]
    assert "test accuracy" in capsys.readouterr().out


def test_files_that_are_linked_exist() -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README.read_text())
    assert len(targets) > 10
    assert [target for target in targets if not (README.parent / target).exists()] == []
