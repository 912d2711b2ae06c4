"""`claimwright driver status` beside a running driver: true, and without disturbing it."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from typing import Any

import pytest

from claimwright.e2e.driven_node import PROGRAM, DrivenNode

pytestmark = pytest.mark.e2e
GATES = "DynamicMIG=true"


def status(node: DrivenNode) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [PROGRAM, "driver", "status", "--json"],
        env={**os.environ, **node._environment(), "FEATURE_GATES": GATES},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, found


@pytest.mark.capability("002-03")
def test_status_tells_holders_and_errors_while_claims_come_and_go() -> None:
    with DrivenNode("hgx-h100") as node:
        node.start(GATES)
        held, late = node.claim("held", {"r0": "gpu-0-mig-1g10gb-19-0"}), node.claim("late", {"r0": "gpu-0"})
        node.prepared(held)
        assert node.prepare(late)[0].error
        ended = threading.Event()
        churn = threading.Thread(target=come_and_go, args=(node, ended))
        churn.start()
        try:
            found = [status(node) for _ in range(3)]
        finally:
            ended.set()
            churn.join(timeout=60)
        node.kill()
        after, left = status(node)

    assert [(code, view["problems"], view["serving"]) for code, view in found] == [(0, [], True)] * 3
    for _, view in (*found, (after, left)):
        (gpu,) = (gpu for gpu in view["gpus"] if gpu["name"] == "gpu-0")
        assert [each["claim"] for each in gpu["holdings"]] == ["default/held"]
        assert "gpu-0-mig-1g10gb-19-0" in gpu["offered"]
        assert [(error["operation"], error["subject"]) for error in view["errors"]] == [
            ("prepare", "default/late")
        ]
    assert (after, left["serving"]) == (1, False)


def come_and_go(node: DrivenNode, ended: threading.Event) -> None:
    number = 0
    while not ended.is_set():
        number += 1
        claim = node.claim(f"churn-{number}", {"r0": "gpu-1"})
        node.prepared(claim)
        node.released(claim)
