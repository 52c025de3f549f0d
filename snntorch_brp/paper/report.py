"""Results on disk: for each its figure (png, pdf), its numbers (csv) and its words (json), and one page over all."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from snntorch_brp.paper.style import Row
from snntorch_brp.runtime.files import write_whole


@dataclass(frozen=True)
class Result:
    """A figure or table of the paper, made anew.

    Attributes:
        name: Such as "fig6".
        title: What it shows.
        figure: The drawing.
        rows: The numbers; published ones among them are marked in the column "source".
        verdict: How ours compare with the published, a line each.
        notes: What a reader must know to judge it.
    """

    name: str
    title: str
    figure: Figure
    rows: Sequence[Row]
    verdict: Sequence[str]
    notes: Sequence[str] = field(default_factory=tuple)


def save(result: Result, out: Path, *, command: str, budget: str, made: str) -> list[Path]:
    """Write a result's files, and close its figure.

    Args:
        result: The result.
        out: Folder to write to.
        command: How it is made again.
        budget: Its name.
        made: When.

    Returns:
        The files written.
    """
    paths = [out / f"{result.name}.{suffix}" for suffix in ("png", "pdf", "csv", "json")]
    for path in paths[:2]:
        picture = io.BytesIO()
        result.figure.savefig(picture, dpi=110, format=path.suffix[1:])
        write_whole(path, picture.getvalue())
    plt.close(result.figure)
    columns = list(dict.fromkeys(key for row in result.rows for key in row))
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _short(value) for key, value in row.items()} for row in result.rows)
    write_whole(paths[2], table.getvalue().encode())
    words = {
        "name": result.name,
        "title": result.title,
        "command": command,
        "budget": budget,
        "made": made,
        "verdict": list(result.verdict),
        "notes": list(result.notes),
    }
    write_whole(paths[3], (json.dumps(words, indent=2, ensure_ascii=False) + "\n").encode())
    return paths


def write_page(out: Path, names: Sequence[str]) -> Path:
    """One page over all results in a folder; it holds its figures and opens from disk.

    Args:
        out: The folder.
        names: Names of results, in the order of the page; those that are not there are left out.

    Returns:
        ``out/index.html``.
    """
    words = [_words(out, name) for name in names if (out / f"{name}.json").is_file()]
    contents = "".join(f'<li><a href="#{w["name"]}">{_e(w["name"])}</a> {_e(w["title"])}</li>' for w in words)
    sections = "\n".join(_section(out, w) for w in words)
    path = out / "index.html"
    write_whole(path, _PAGE.format(contents=contents, sections=sections).encode())
    return path


_TEXTS = ("name", "title", "command", "budget", "made")


def _words(out: Path, name: str) -> dict[str, Any]:
    """What :func:`save` wrote of a result; a ValueError says what is wrong with it, and what to do."""
    path = out / f"{name}.json"
    cure = f"remove it, or make it anew: snntorch-brp reproduce {name}"
    try:
        words = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): {cure}") from None
    if not isinstance(words, dict):
        raise ValueError(f"{path} holds no result: {cure}")
    for key in (*_TEXTS, "verdict", "notes"):
        texts = [words.get(key)] if key in _TEXTS else words.get(key)
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"{path} holds no result: its {key!r} is {words.get(key)!r}; {cure}")
    for suffix in ("png", "csv"):
        if not (out / f"{name}.{suffix}").is_file() or not (out / f"{name}.{suffix}").stat().st_size:
            raise ValueError(f"{path} is there, and no {name}.{suffix} beside it: {cure}")
    return words


def _section(out: Path, words: dict[str, Any]) -> str:
    name = words["name"]
    picture = base64.b64encode((out / f"{name}.png").read_bytes()).decode()
    verdict = "".join(f"<li>{_e(line)}</li>" for line in words["verdict"])
    notes = "".join(f"<p>{_e(line)}</p>" for line in words["notes"])
    with (out / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    head = "".join(f"<th>{_e(cell)}</th>" for cell in header)
    body = "".join(
        f"<tr{' class=published' if 'published' in row else ''}>{''.join(f'<td>{_e(c)}</td>' for c in row)}</tr>"
        for row in rows
    )
    return f"""<section id="{name}">
<h2>{_e(name)}: {_e(words["title"])}</h2>
<p class="made"><code>{_e(words["command"])}</code> · budget {_e(words["budget"])} · {_e(words["made"])}</p>
<ul>{verdict}</ul>
<img src="data:image/png;base64,{picture}" alt="{_e(name)}: {_e(words["title"])}">
<div class="notes">{notes}</div>
<details><summary>the numbers ({len(rows)} rows; also <a href="{name}.csv">{name}.csv</a>,
<a href="{name}.pdf">{name}.pdf</a>)</summary>
<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></details>
</section>"""


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def _e(text: object) -> str:
    return html.escape(str(text))


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>BRP: the paper's figures, made anew</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 62rem; margin: 2rem auto;
    padding: 0 1rem; }}
  h1, h2 {{ line-height: 1.2; }}
  section {{ border-top: 1px solid #ccc; margin-top: 3rem; }}
  img {{ max-width: 100%; height: auto; }}
  code {{ background: #f3f3f3; padding: .1em .3em; border-radius: 3px; }}
  .made, .notes {{ color: #555; font-size: .9rem; }}
  .scroll {{ overflow-x: auto; max-height: 30rem; }}
  table {{ border-collapse: collapse; font-size: .8rem; font-variant-numeric: tabular-nums; }}
  th, td {{ border-bottom: 1px solid #ddd; padding: .2rem .5rem; text-align: left; white-space: nowrap; }}
  th {{ position: sticky; top: 0; background: #fff; }}
  tr.published {{ color: #777; font-style: italic; }}
</style>
</head>
<body>
<h1>The paper's figures, made anew</h1>
<p>Zhang, Jia, Cheng, Xu, "Tuning Convolutional Spiking Neural Network With Biologically Plausible Reward
Propagation", IEEE TNNLS 2021. Everything marked <em>published</em> is the paper's; all other numbers were measured by
the command beside them, on the data, split, epochs, seeds and device that each row names. Where data stands in for
the paper's, it says so, and the two cannot be compared number for number.</p>
<ul>{contents}</ul>
{sections}
</body>
</html>
"""
