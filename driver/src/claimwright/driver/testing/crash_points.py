"""The page of every point at which a killed driver can leave a claim, and what becomes of the claim.

python -m claimwright.driver.testing.crash_points            # writes docs/crash-points.md
python -m claimwright.driver.testing.crash_points --check    # fails when the page is not what would be written
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from claimwright.dra.testing import FakeApi
from claimwright.driver.testing.crashes import Outcome, Scenario, die, points, scenarios
from claimwright.driver.testing.domain_crashes import SCENARIOS, domain_outcomes
from claimwright.driver.testing.memory_node import MemoryNode

PAGE: Final = Path("docs/crash-points.md")


def found_scenarios() -> list[Scenario]:
    """Return the scenarios in which the claim is not refused."""
    with FakeApi() as api:
        return [each for each in _fresh(api, lambda node: list(scenarios(node))) if _fresh(api, points, each)]


def outcomes(scenario: Scenario) -> Iterator[Outcome]:
    """Kill the driver at every point of a scenario, each time on a fresh node."""
    with FakeApi() as api:
        for at, _ in enumerate(_fresh(api, points, scenario)):
            yield _fresh(api, die, scenario, at)


def _fresh(api: FakeApi, call: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401
    with tempfile.TemporaryDirectory() as folder, closing(MemoryNode(Path(folder), api)) as node:
        return call(node, *arguments)


def section(scenario: Scenario) -> str:
    """Return a scenario's part of the page; RuntimeError names a claim that is neither prepared nor gone."""
    return _section(scenario.name, outcomes(scenario))


def domain_section(name: str) -> str:
    """Return the part of a claim of the ComputeDomain plugin; RuntimeError as `section`."""
    return _section(name, domain_outcomes(name))


def _section(name: str, outcomes: Iterator[Outcome]) -> str:
    rows = []
    for number, outcome in enumerate(outcomes, 1):
        if outcome.problem:
            raise RuntimeError(f"{name}, killed {outcome.point}: the claim {outcome.problem}")
        rows.append(f"| {number} | {outcome.point} | {outcome.state} |")
    return "\n".join([f"## {name}", "", "| | killed | claim afterwards |", "|---|---|---|", *rows])


def page() -> str:
    """Return the page."""
    sections = (*map(section, found_scenarios()), *map(domain_section, SCENARIOS))
    return "\n\n".join([_HEAD, *sections]) + "\n"


_HEAD: Final = """<!-- Written by `python -m claimwright.driver.testing.crash_points`; do not edit. -->

# Where a killed driver leaves a claim

`kill -9`, at every step and every journal write of a claim's life, for every kind of claim. After the
next start the claim is *prepared* (its devices are as the container needs them, and the kubelet gets the same answer)
or it is *clean* (the node is as it was before the claim). There is nothing between. *repair* is what happens
when somebody removed the claim's CDI file. `driver/tests/test_driver_crash_points.py` kills the driver at each of them,
and at each of those of GPUs a second time while it recovers.

Claims of ComputeDomains, at the end, have one state more: *waiting*, which keeps the node's label, as that is what
brings the daemon that the claim waits for."""


def main(arguments: list[str]) -> int:
    """Write the page, or check it."""
    logging.getLogger("claimwright").setLevel(logging.CRITICAL)  # a thousand repairs and roll-backs
    text = page()
    if "--check" not in arguments:
        PAGE.write_text(text)
        return 0
    if PAGE.read_text() == text:
        return 0
    print(f"{PAGE} is old: run python -m claimwright.driver.testing.crash_points", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
