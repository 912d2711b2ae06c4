"""Every kind of device of a node, prepared and released at random under `kill -9`: nothing is left, nothing shared."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from claimwright.e2e.driven_node import DrivenNode
from claimwright.e2e.soak import Soak, switches

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.mark.capability("003-22")
def test_sixty_cycles_over_every_mode_under_kills_leave_the_node_as_it_was() -> None:
    with DrivenNode("every-mode") as node:
        findings = Soak(node, seed=3, kill_every=12).run(60)

    assert findings.clean, findings
    assert findings.kills > 0
    assert {"gpu", "mig", "vfio", "vgpu"} <= findings.prepared.keys()


def test_an_admin_and_failing_gpus_beside_the_claims_change_nothing_of_that() -> None:
    with DrivenNode("every-mode") as node:
        findings = Soak(node, seed=5, kill_every=30, admin_every=4, look_every=20).run(60)

    assert findings.clean, findings
    assert {"partition", "XID 48"} <= findings.admin_acts.keys()


def test_what_is_left_behind_is_found() -> None:
    with DrivenNode("every-mode") as node:
        spec = node.cdi_root / "k8s.gpu.nvidia.com-claim_left.json"
        findings = Soak(node, seed=1).run(2, lambda _: [spec.write_text("{}")])

    assert not findings.clean
    assert any(spec.name in leak for leak in findings.leaks)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_a_signal_ends_says_what_it_found_and_leaves_nothing(number: signal.Signals) -> None:
    command = [
        sys.executable,
        "-m",
        "claimwright.e2e.soak",
        "--cycles",
        "100000",
        "--kill-every",
        "0",
        "--json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert "cycles" in running.stderr.readline()

        running.send_signal(number)

        found = json.loads(running.stdout.read())
    assert 0 < found["cycles"] < 100000
    assert (found["leaks"], found["overlaps"]) == ([], [])


def test_every_change_of_a_gpus_mode_is_measured() -> None:
    with DrivenNode("every-mode") as node:
        node.start("AllAlpha=true")
        node.wait_devices(lambda found: len({device.attributes["type"] for device in found.values()}) > 3)
        measured = switches(node, 1)

    h100 = {(each.before, each.after) for each in measured if each.gpu == "0000:21:00.0"}
    assert len(h100) == 12
    assert all(0 < each.total_p50 <= each.total_max for each in measured)
