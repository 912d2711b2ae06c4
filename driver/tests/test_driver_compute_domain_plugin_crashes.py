"""What a killed ComputeDomain plugin must not take back; the list of all points is docs/crash-points.md."""

from __future__ import annotations

import asyncio

from claimwright.driver.testing.crashes import Fate
from claimwright.driver.testing.domain_crashes import SCENARIOS, WAITING, domain_points, lived, start_again


def test_a_claim_has_many_points_at_which_its_plugin_can_die() -> None:
    assert min(len(domain_points(name)) for name in SCENARIOS) > 8


def test_a_plugin_killed_while_it_waits_keeps_the_label_for_the_daemon() -> None:
    points = domain_points(WAITING)
    after = next(at for at, point in enumerate(points) if point.startswith("prepare again"))

    with lived(WAITING, Fate(dies_at=after)) as node:
        label = node.label
        asyncio.run(start_again(node))
        kept = node.label

    assert label is not None
    assert kept == label
