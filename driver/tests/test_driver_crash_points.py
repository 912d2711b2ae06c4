"""The driver dies at each step and each journal write of every kind of claim; the list is docs/crash-points.md."""

from __future__ import annotations

import asyncio
import re
from contextlib import closing
from pathlib import Path

import pytest

from claimwright.dra.testing import FakeApi
from claimwright.driver.testing import crash_points
from claimwright.driver.testing.crash_points import domain_section, found_scenarios, section
from claimwright.driver.testing.crashes import Scenario, die, points
from claimwright.driver.testing.domain_crashes import SCENARIOS
from claimwright.driver.testing.domain_node import DomainNode
from claimwright.driver.testing.memory_node import MemoryNode

PAGE = Path(__file__).parents[2] / crash_points.PAGE
LISTED = [line.removeprefix("## ") for line in PAGE.read_text().splitlines() if line.startswith("## ")]
OF_GPUS = [name for name in LISTED if name not in SCENARIOS]
REGENERATE = "run python -m claimwright.driver.testing.crash_points in the repository's root"


@pytest.fixture(scope="module")
def scenarios() -> dict[str, Scenario]:
    return {each.name: each for each in found_scenarios()}


def test_the_page_lists_every_kind_of_claim_that_the_driver_prepares(scenarios: dict[str, Scenario]) -> None:
    assert [*scenarios, *SCENARIOS] == LISTED, REGENERATE


def test_every_tool_of_the_driver_is_killed_in_some_claim(
    tmp_path: Path, scenarios: dict[str, Scenario]
) -> None:
    (tmp_path / "gpus").mkdir()
    (tmp_path / "rack").mkdir()
    with (
        FakeApi() as api,
        closing(MemoryNode(tmp_path / "gpus", api)) as node,
        closing(DomainNode(tmp_path / "rack", api)) as tray,
    ):
        boxes = [asyncio.run(node.start()).toolbox, asyncio.run(tray.start()).toolbox]
    tools = {tool.name for box in boxes for tool in box}

    missing = {name for name in tools if not re.search(rf"(un)?do {name} ", PAGE.read_text())}

    assert not missing, "give MemoryNode what these tools work on, or CONFIGS what asks for them"


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_GPUS)
def test_a_driver_killed_at_any_point_leaves_the_claim_prepared_or_clean(
    scenarios: dict[str, Scenario], name: str
) -> None:
    assert section(scenarios[name]) in PAGE.read_text(), REGENERATE


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_plugin_of_compute_domains_killed_at_any_point_leaves_the_claim_prepared_waiting_or_clean(
    name: str,
) -> None:
    assert domain_section(name) in PAGE.read_text(), REGENERATE


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_GPUS)
def test_a_driver_killed_again_while_it_recovers_leaves_the_claim_prepared_or_clean(
    tmp_path: Path, scenarios: dict[str, Scenario], name: str
) -> None:
    scenario = scenarios[name]
    with FakeApi() as api:
        (tmp_path / "first").mkdir()
        with closing(MemoryNode(tmp_path / "first", api)) as node:
            passed = points(node, scenario)
        for at, point in enumerate(passed):
            folder = tmp_path / str(at)
            folder.mkdir()
            with closing(MemoryNode(folder, api)) as node:
                outcome = die(node, scenario, at, again_at=at % 9)
            assert not outcome.problem, f"killed {point}, and again at {at % 9}: the claim {outcome.problem}"
