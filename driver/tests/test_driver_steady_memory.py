"""What the driver's process still has of claims that have come and gone."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from claimwright.dra.testing import FakeApi
from claimwright.driver.testing import crash_points, domain_crashes
from claimwright.driver.testing.crashes import Scenario, scenarios
from claimwright.driver.testing.memory_node import MemoryNode, Started

PAGE = Path(__file__).parents[2] / crash_points.PAGE
LISTED = [line.removeprefix("## ") for line in PAGE.read_text().splitlines() if line.startswith("## ")]
NAMES = [
    name
    for name in LISTED
    if "beside" not in name and "taken over" not in name and name not in domain_crashes.SCENARIOS
]
_WARM, _CYCLES = 50, 100
# Threads that begin to work late, and caches that fill, take one or two; a value that is kept has four or more.
_MOST_A_CYCLE = 3


@pytest.fixture
def node(tmp_path: Path) -> Iterator[MemoryNode]:
    with FakeApi() as api, closing(MemoryNode(tmp_path, api)) as node:
        yield node


def blocks() -> int:
    """Return how many blocks of memory Python has given out: strings and numbers are no objects of its collector."""
    gc.collect()
    return sys.getallocatedblocks()


async def come_and_go(node: MemoryNode, started: Started, scenario: Scenario, number: int) -> None:
    claim = node.claim(f"claim-{number}", scenario.device, scenario.parameters)
    await started.machine.prepare(started.planner.plan(claim))
    await started.machine.release(claim.uid)
    node.programs.commands.clear()


async def grown(node: MemoryNode, scenario: Scenario) -> int:
    """Return by how many blocks the process grew in the cycles after those that fill its caches."""
    started = await node.start()
    await started.machine.recover()
    for number in range(_WARM):
        await come_and_go(node, started, scenario, number)
    before = blocks()
    for number in range(_WARM, _WARM + _CYCLES):
        await come_and_go(node, started, scenario, number)
    found = blocks() - before
    await started.machine.stop(timeout_seconds=5)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_a_claim_stays_in_memory_once_it_is_released(node: MemoryNode, name: str) -> None:
    (scenario,) = (each for each in scenarios(node) if each.name == name)

    assert asyncio.run(grown(node, scenario)) < _MOST_A_CYCLE * _CYCLES
