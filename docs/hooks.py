"""What the site makes of the code when it is built: tutorials, the API reference, and tables that must not go stale.

``<!-- made: NAME -->`` in a page is replaced by what the function of that name in ``TABLES`` gives.
"""

from __future__ import annotations

import ast
import base64
import importlib.util
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "snntorch_brp"
NOT_PUBLIC = {
    "__init__",
    "__main__",
    "start",
    "version",
    "cli",
    "paper",
    "label_only",
    "depth",
    "rule_study",
    "runtime",
}
FOLDERS = {  # whose modules have pages, beside what the folder itself exports; all of them where nothing is said
    "analysis": (), "attachment": (), "fused": (), "shifting": (),
    "runs": ("trained",), "tasks": ("base", "registry"), "training": ("checkpoint", "pipeline", "tensorboard"),
}  # fmt: skip


def _beside(name: str) -> Any:
    """A module that lies beside this one: mkdocs loads hooks without their folder on the path."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


notebooks, facts = _beside("make_notebooks"), _beside("facts")


# -- API reference ----------------------------------------------------------------------------------------------------


def _first_line(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0].replace("``", "`")


def _exports(init: Path) -> dict[str, str]:
    """Names in ``__all__`` of an ``__init__.py``, and the module that each comes from."""
    tree = ast.parse(init.read_text())
    source = {
        alias.asname or alias.name: node.module or ""
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    listed = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets)
    ]
    names: list[str] = ast.literal_eval(listed[0]) if listed else []
    return {name: source.get(name, "") for name in names}


def public_modules() -> list[str]:
    """Public modules: those at the root, and of each folder what it exports and what ``FOLDERS`` adds."""
    found = []
    for path in sorted(PACKAGE.iterdir()):
        if path.stem in NOT_PUBLIC or path.name.startswith("_"):
            continue
        if path.suffix == ".py":
            found.append(path.stem)
        elif (path / "__init__.py").exists():
            inside = sorted(p.stem for p in path.glob("*.py") if not p.name.startswith("_"))
            found += [path.name] if _exports(path / "__init__.py") else []
            found += [f"{path.name}.{name}" for name in inside if name in FOLDERS.get(path.name, inside)]
    return found


def _reference() -> dict[str, str]:
    """Markdown pages by address."""
    page = "::: snntorch_brp.{}\n    options: {{heading_level: 1, show_root_full_path: true}}\n"
    pages = {f"reference/{name}.md": page.format(name) for name in public_modules()}
    rows = [
        f"| [`{name}`][{module}.{name}] | {facts.first_line(name)} |"
        for name, module in _exports(PACKAGE / "__init__.py").items()
        if module.startswith("snntorch_brp.") and name != "__version__"
    ]
    pages["reference/index.md"] = "\n".join(
        [
            "# Public names",
            "",
            "What `from snntorch_brp import ...` gives. These names, and those on the pages of this reference, are the "
            "public interface; what has no page here may change without notice.",
            "",
            "| name | what it is |",
            "| --- | --- |",
            *rows,
        ]
    )
    return pages


# -- tutorials --------------------------------------------------------------------------------------------------------


def _tutorial(path: Path, pictures: dict[str, bytes]) -> str:
    """One example as a page; ``pictures`` takes its figures by address."""
    stored = ROOT / "docs" / "tutorials" / f"{path.stem}.ipynb"
    cells = notebooks.notebook(path.read_text())["cells"]
    ran = json.loads(stored.read_text())["cells"] if stored.exists() else []
    same = [(c["cell_type"], c["source"]) for c in cells] == [(c["cell_type"], c["source"]) for c in ran]
    page = []
    for number, cell in enumerate(ran if same else cells):
        source = "".join(cell["source"])
        page.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            if output["output_type"] == "stream":
                page.append('```text title="printed"\n' + "".join(output["text"]).rstrip() + "\n```")
            else:
                address = f"tutorials/{path.stem}-{number}.png"
                pictures[address] = base64.b64decode(output["data"]["image/png"])
                page.append(f"![what cell {number + 1} draws]({path.stem}-{number}.png)")
    how = f"`python examples/{path.name}` runs this page"
    note = f"{how}; [as a notebook]({path.stem}.ipynb)." if same else f"{how}. No outputs are stored for this version."
    title, _, rest = "\n\n".join(page).partition("\n")
    return f"{title}\n\n{note}\n{rest}\n"


def _title(path: Path) -> str:
    return path.read_text().splitlines()[1].removeprefix("# # ").partition(":")[0].replace("`", "")


# -- mkdocs' events ---------------------------------------------------------------------------------------------------


def on_config(config: Any) -> Any:
    """Put the pages that are made here into the navigation."""
    guide = config.nav.index(next(entry for entry in config.nav if "Guide" in entry))
    tutorials = [{_title(path): f"tutorials/{path.stem}.md"} for path in notebooks.examples()]
    config.nav.insert(guide + 1, {"Tutorials": tutorials})
    folders: list[dict[str, str]] = []
    inside: dict[str, list[dict[str, str]]] = {}
    for name in public_modules():
        page = {name: f"reference/{name}.md"}
        if "." in name:
            inside.setdefault(f"{name.partition('.')[0]}, by module", []).append(page)
        elif (PACKAGE / name).is_dir():
            folders.append(page)
        else:
            inside.setdefault("the root, by module", []).append(page)
    modules = [{title: pages} for title, pages in inside.items()]
    config.nav.append({"API reference": [{"Public names": "reference/index.md"}, *folders, *modules]})
    config.watch += [str(PACKAGE), str(ROOT / "examples")]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add tutorials and reference."""
    pictures: dict[str, bytes] = {}
    pages = _reference() | {f"tutorials/{path.stem}.md": _tutorial(path, pictures) for path in notebooks.examples()}
    for address, content in {**pages, **pictures}.items():
        files.append(File.generated(config, address, content=content))
    return files


TABLES: dict[str, Callable[[], str]] = {
    "neurons": facts.neurons,
    "modules": facts.modules,
    "refusals": facts.refusals,
    "tasks": facts.tasks,
    "rules": facts.rules,
    "house": facts.house,
}
MARK = re.compile(r"<!-- made: (\w+) -->")


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Fill the tables that are made from the code."""
    return MARK.sub(lambda found: TABLES[found[1]](), markdown)
