"""The tables of quirks and of parity name tests that exist, and say what has none."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from claimwright.driver.feature_gates import DEFAULTS, IMPLEMENTED

ROOT = Path(__file__).parents[2]
PAGES = {"quirks": ROOT / "docs/quirks.md", "parity": ROOT / "docs/parity.md"}
FOLDERS = ("driver/tests", "dra/tests", "e2e/tests", "e2e/scenarios")
NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")
WITHOUT = re.compile(r"(not there yet|not needed): \w")


@dataclass(frozen=True)
class Row:
    """A line of a table: its first cell, and what it says in all."""

    what: str
    text: str

    @property
    def tests(self) -> list[tuple[str, str]]:
        return NAMED.findall(self.text)


def rows(page: Path) -> list[Row]:
    lines = [line for line in page.read_text().splitlines() if line.startswith("|")]
    heads = {number - 1 for number, line in enumerate(lines) if line.startswith("|---")}
    return [
        Row(line.split("|")[1].strip(), line)
        for number, line in enumerate(lines)
        if number not in heads and not line.startswith("|---")
    ]


def existing() -> set[tuple[str, str]]:
    """Each test by its file's name, which is unique here, and its own, without parameters."""
    return {
        (path.name, node.name)
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_a_table_names_exists(page: str) -> None:
    named = {test for row in rows(PAGES[page]) for test in row.tests}

    assert named
    assert sorted(named - existing()) == []


@pytest.mark.parametrize("page", PAGES)
def test_a_row_has_tests_or_says_why_it_has_none(page: str) -> None:
    both_or_neither = [
        row.what for row in rows(PAGES[page]) if bool(row.tests) is bool(WITHOUT.search(row.text))
    ]

    assert both_or_neither == []


@pytest.mark.parametrize("page", PAGES)
def test_nothing_else_in_a_table_looks_like_a_test(page: str) -> None:
    for row in rows(PAGES[page]):
        assert "test_" not in NAMED.sub("", row.text)


def test_every_quirk_has_its_row() -> None:
    assert [row.what for row in rows(PAGES["quirks"])] == [str(number) for number in range(1, 29)]


@pytest.mark.parametrize("page", PAGES)
def test_a_gate_that_is_named_as_missing_does_nothing_yet(page: str) -> None:
    gates = {
        gate for row in rows(PAGES[page]) if not row.tests for gate in re.findall(r"gate `(\w+)`", row.text)
    }

    assert gates <= DEFAULTS.keys() - IMPLEMENTED


@pytest.mark.parametrize("page", PAGES)
def test_the_drivers_readme_leads_to_the_tables(page: str) -> None:
    assert f"../docs/{page}.md" in (ROOT / "driver/README.md").read_text()
