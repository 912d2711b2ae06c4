"""Events as an API server checks them: it refuses a wrong one, and then nobody is told."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from claimwright.dra.kube import EVENTS, Kube
from claimwright.driver.health.notices import Notice, event_object
from claimwright.driver.restoring import corruption_event

LONG = ".".join(["n" * 60] * 4)
NOTE = "what an administrator should know " * 100


@pytest.mark.contract
@pytest.mark.parametrize("node", ["node-a", "node.example.com", LONG], ids=["plain", "dotted", "long"])
@pytest.mark.parametrize(
    "event",
    [
        lambda node: event_object(node, node, Notice("GpuUnhealthy", NOTE), time.time()),
        lambda node: corruption_event("gpu.nvidia.com", node, NOTE, time.time()),
    ],
    ids=["health", "corruption"],
)
def test_a_real_api_server_takes_the_events_of_the_plugin(event: Any, node: str) -> None:
    given = os.environ.get("CLAIMWRIGHT_TEST_KUBECONFIG")
    if not given:
        pytest.skip("CLAIMWRIGHT_TEST_KUBECONFIG names no API server")

    made = Kube.from_kubeconfig(Path(given)).create(EVENTS, event(node), namespace="default", dry_run=True)
    assert made["regarding"]["name"] == node
