"""The order of the house: floors, names, silence, and examples that run."""

from __future__ import annotations

import ast
import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest
import snntorch as snn
import torch
import torch.nn.functional as F
from torch import nn

import snntorch_brp
import snntorch_brp.models
import snntorch_brp.training

PACKAGE = Path(snntorch_brp.__file__).parent

# What each module or folder stands on: it imports only from lower floors, or from its own folder.
FLOORS = {
    "version": 0,
    "named": 0,
    "runtime": 0,
    "surrogate": 0,
    "encoding": 0.1,
    "feedback": 0.1,
    "finite": 0.1,
    "traces": 0,
    "places": 0,
    "adaptive": 0.1,
    "eligibility_trace": 0.2,
    "layer_view": 0.3,
    "activity": 0.5,
    "firing": 0,
    "standardize": 0,
    "weight_standardization": 0,
    "neurons": 1,
    "propagation": 1,
    "consolidation": 1,
    "reading": 1.2,
    "composition": 1.2,
    "rules": 1.5,
    "data": 1,
    "shifting": 1,
    "targets": 2,
    "learning_rates": 2,
    "notation": 1.9,
    "models": 2,
    "initialization": 2,
    "sequence": 2,
    "nir": 2,
    "tasks": 3,
    "attachment": 3,
    "fused": 3,
    "plots": 3,
    "training": 4,
    "analysis": 5,
    "runs": 6,
    "paper": 7,
    "label_only": 8,
    "depth": 8.5,
    "rule_study": 8,
    "cli": 9,
    "__init__": 10,
    "__main__": 11,
}


def modules() -> list[str]:
    found = pkgutil.walk_packages([str(PACKAGE)], "snntorch_brp.")
    return ["snntorch_brp", *(m.name for m in found if not m.name.endswith("__main__"))]


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def top(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def own_imports(path: Path) -> list[str]:
    """First part under the package of every import, also those inside functions."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += (
                [node.module or ""] if node.module != "snntorch_brp" else [f"snntorch_brp.{a.name}" for a in node.names]
            )
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return [name.split(".")[1] for name in names if name.startswith("snntorch_brp.")]


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_come_from_lower_floors(path: Path) -> None:
    here = top(path)
    assert here in FLOORS, f"give {here} a floor"
    for name in own_imports(path):
        if name != here:
            assert name in FLOORS, f"{path.name} imports {name} through the package: import it from its module"
            assert FLOORS[name] < FLOORS[here], f"{here} (floor {FLOORS[here]}) imports {name} (floor {FLOORS[name]})"


def test_no_folder_imports_in_a_circle() -> None:
    """Inside a folder, where the floors say nothing, modules must still be in an order."""
    name_of = {path: ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in sources()}
    name_of = {path: name.removesuffix(".__init__") for path, name in name_of.items()}
    graph: dict[str, set[str]] = {name: set() for name in name_of.values()}
    for path, name in name_of.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in graph:
                parts = [f"{node.module}.{alias.name}" for alias in node.names]  # a module of a folder, or a name
                graph[name] |= {part if part in graph else node.module for part in parts} - {name}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("name", modules())
def test_every_name_in_all_resolves(name: str) -> None:
    module = importlib.import_module(name)
    listed = getattr(module, "__all__", [])
    assert len(listed) == len(set(listed))
    for public in listed:
        assert hasattr(module, public), f"{name}.__all__ lists {public}"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_command_line_prints(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    prints = [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
    assert top(path) == "cli" or not prints, f"print on lines {prints}"


@pytest.mark.parametrize("name", modules())
def test_examples_in_docstrings_run(name: str) -> None:
    module = importlib.import_module(name)
    public: dict[str, object] = {}
    for open_to_all in (snntorch_brp.models, snntorch_brp.training, snntorch_brp.rules, snntorch_brp):
        public |= {key: value for key, value in vars(open_to_all).items() if not key.startswith("_")}
    scope = {**public, **vars(module), "torch": torch, "nn": nn, "F": F, "snn": snn}
    torch.manual_seed(0)
    finder, runner = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    said: list[str] = []
    for test in finder.find(module, name, globs=scope):
        runner.run(test, out=said.append)
    assert runner.failures == 0, "".join(said)


@pytest.mark.parametrize("name", [name for name in snntorch_brp.__all__ if name != "__version__"])
def test_every_public_name_shows_how_it_is_used(name: str) -> None:
    made_by_another = {
        "Attached",
        "Propagation",
        "Consolidation",
        "rules",
    }  # abstract, or made by a function that has one
    assert ">>>" in getattr(snntorch_brp, name).__doc__ or name in made_by_another
