"""The driver's pages say what its source says: error texts, manifests, values, links."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from claimwright.driver.feature_gates import DEFAULTS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = ("install.md", "modes.md", "troubleshooting.md")
HOLE = "…"


def texts_of_the_source() -> Iterator[str]:
    """Every string of the driver and its plugin kit, with a hole where a value goes."""
    for room in ("driver", "dra"):
        for path in (ROOT / room / "src/claimwright" / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    yield "".join(
                        each.value if isinstance(each, ast.Constant) else HOLE for each in node.values
                    )  # type: ignore[misc]
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield re.sub(r"%[sdr]", HOLE, node.value)


def error_texts() -> list[str]:
    return re.findall(r"(?m)^### `(.*)`$", (DOCS / "troubleshooting.md").read_text())


@pytest.fixture(scope="module")
def source() -> list[str]:
    return list(texts_of_the_source())


@pytest.mark.parametrize("text", error_texts())
def test_an_error_text_is_one_that_the_driver_says(source: list[str], text: str) -> None:
    assert any(text in said or text.removesuffix(HOLE).rstrip() in said for said in source)


def test_the_modes_and_the_tutorial_name_each_other() -> None:
    named = set(re.findall(r"\(tutorial/([\w-]+\.yaml)\)", (DOCS / "modes.md").read_text()))

    assert named == {path.name for path in (DOCS / "tutorial").glob("*.yaml")}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (DOCS / page).read_text())

    assert [link for link in links if not (DOCS / link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_values_and_gates_that_a_page_names_exist(page: str) -> None:
    text = (DOCS / page).read_text()
    values = yaml.safe_load((ROOT / "driver/chart/values.yaml").read_text())

    for path in re.findall(r"--set ([\w.]+)=", text) + re.findall(r"(?m)^\| `([a-z]\w+(?:\.\w+)*)`", text):
        at = values
        for word in path.split("."):
            if path.startswith("featureGates."):
                assert word == "featureGates" or word in DEFAULTS, path
                continue
            assert word in at, f"{path} is no value of the chart"
            at = at[word]
    for gate in re.findall(r"gate `(\w+)`", text):
        assert gate in DEFAULTS


@pytest.mark.parametrize("page", PAGES)
def test_the_readme_leads_to_each_page(page: str) -> None:
    assert f"docs/{page}" in (ROOT / "README.md").read_text()
    assert f"../docs/{page}" in (ROOT / "driver/README.md").read_text()
