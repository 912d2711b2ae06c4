"""Every kind of device of a node, prepared and released at random under `kill -9`: nothing is left, nothing shared."""

from __future__ import annotations

import pytest

from claimwright.e2e.driven_node import DrivenNode
from claimwright.e2e.soak import Soak

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.mark.capability("003-22")
def test_sixty_cycles_over_every_mode_under_kills_leave_the_node_as_it_was() -> None:
    with DrivenNode("every-mode") as node:
        findings = Soak(node, seed=3, kill_every=12).run(60)

    assert findings.clean, findings
    assert findings.kills > 0
    assert {"gpu", "mig", "vfio"} <= findings.prepared.keys()
