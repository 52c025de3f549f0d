"""Tables of names: no two lines alike, one meaning for each name, and all of it in the command line's help."""

from __future__ import annotations

import pytest

from snntorch_brp.cli import main
from snntorch_brp.consolidation import CONSOLIDATIONS, Consolidation
from snntorch_brp.named import Named, canonical, table
from snntorch_brp.propagation import PROPAGATIONS, Propagation, Rule


def line(title: str = "A", color: str = "#000000", aliases: tuple[str, ...] = ()) -> Named[int]:
    return Named(make=int, title=title, color=color, aliases=aliases)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ({"a": line(), "b": line("A", "#111111")}, "have the title 'A'"),
        ({"a": line(), "b": line("B")}, "have the color '#000000'"),
        ({"a": line(), "b": line("B", "#111111", ("a",))}, "have the name 'a'"),
        ({"a": line(aliases=("b",)), "c": line("C", "#111111", ("b",))}, "have the name 'b'"),
        ({"A": line()}, "'A' cannot be a name"),
        ({"a:b": line()}, "'a:b' cannot be a name"),
    ],
)
def test_lines_that_cannot_stand_in_one_table_fail_where_it_is_made(lines: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        table(lines)


def test_a_misspelled_or_forgotten_field_of_a_rule_fails_where_it_is_made() -> None:
    with pytest.raises(TypeError, match="colour"):
        Rule(make=int, title="A", colour="#000000")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="title"):
        Rule(make=int, color="#000000")  # type: ignore[call-arg]


def test_every_name_means_one_line_in_any_case() -> None:
    for lines, kind in ((PROPAGATIONS, Propagation), (CONSOLIDATIONS, Consolidation)):
        for key, entry in lines.items():
            assert isinstance(entry.make(), kind)
            for name in (key, *entry.aliases):
                assert canonical(name.upper(), lines) == key
    assert canonical("module:Class", PROPAGATIONS) == "module:Class"


def test_the_help_lists_every_rule_and_every_alias(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "2000")  # names are not broken at their hyphens
    with pytest.raises(SystemExit):
        main(["train", "digits", "--help"])
    words = capsys.readouterr().out.replace(",", " ").replace(";", " ").split()
    for lines in (PROPAGATIONS, CONSOLIDATIONS):
        for key, entry in lines.items():
            assert {key, *entry.aliases} <= set(words)


def test_what_the_table_says_of_a_rule_is_so() -> None:
    for entry in PROPAGATIONS.values():
        rule = entry.make()
        assert entry.label_only <= (rule.local and not rule.needs_output)
