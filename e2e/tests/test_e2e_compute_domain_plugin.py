"""The ComputeDomain plugin as a process on an emulated GB200 tray: its NVML, its /proc, its nvidia-imex."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from claimwright.dra.claims import ClaimReference
from claimwright.dra.kube import NODES
from claimwright.driver.computedomain.resources import (
    CLIQUES,
    COMPUTE_DOMAIN_DRIVER,
    COMPUTE_DOMAINS,
    DOMAIN,
    Member,
    clique_name,
)
from claimwright.e2e.deadlines import wait_until
from claimwright.e2e.driven_node import NODE, Answer, DrivenNode

pytestmark = pytest.mark.e2e
CLUSTER, NUMBER = "5d1a6ab0-1111-4222-8333-444455556666", 7
UID = str(uuid.UUID(int=77))
HOST = "HostManagedIMEXDaemon=true"


@pytest.fixture
def tray() -> Iterator[DrivenNode]:
    with DrivenNode("gb200-tray", command="compute-domain-plugin", driver=COMPUTE_DOMAIN_DRIVER) as tray:
        tray.node.call("join_fabric", cluster_uuid=CLUSTER, clique_id=NUMBER)
        spec = {"numNodes": 0, "channel": {"resourceClaimTemplate": {"name": "ring-channel"}}}
        metadata = {"name": "ring", "namespace": "default", "uid": UID}
        tray.api.put(COMPUTE_DOMAINS, {"metadata": metadata, "spec": spec})
        yield tray


@pytest.fixture
def kubelet() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as kubelet:
        yield kubelet


def claim(tray: DrivenNode, kind: str, **config: Any) -> ClaimReference:
    parameters = {
        "apiVersion": "resource.nvidia.com/v1beta1",
        "kind": f"ComputeDomain{kind.title()}Config",
        "domainID": UID,
        **config,
    }
    return tray.claim(kind, {kind: f"{kind}-0"}, configs=[parameters])


def daemon_is_ready(tray: DrivenNode) -> None:
    clique = f"{CLUSTER}.{NUMBER}"
    metadata = {"name": clique_name(UID, clique), "namespace": "default", "labels": {DOMAIN: UID}}
    row = Member(NODE, "10.0.0.5", clique, 0, ready=True).row(named="nodeName")
    tray.api.put(CLIQUES, {"metadata": metadata, "daemons": [row]})


def label(tray: DrivenNode) -> str | None:
    (node,) = tray.api.objects(NODES)
    found: str | None = (node["metadata"].get("labels") or {}).get(DOMAIN)
    return found


def prepared(answers: list[Answer]) -> list[tuple[str, tuple[str, ...]]]:
    assert [answer.error for answer in answers] == [""] * len(answers)
    return [(device.device, device.cdi_ids) for answer in answers for device in answer.devices]


@pytest.mark.capability("002-25")
def test_a_tray_gives_a_daemon_and_a_channel_and_keeps_them_when_killed(tray: DrivenNode) -> None:
    tray.start()
    devices = tray.wait_devices(lambda found: len(found) == 2)
    daemon, channel = claim(tray, "daemon"), claim(tray, "channel", allocationMode="All")
    first = prepared(tray.prepare(daemon))
    daemon_is_ready(tray)
    second = prepared(tray.prepare(channel))
    edits = tray.edits(tray.prepared(daemon))
    nodes = tray.edits(tray.prepared(channel)).device_nodes
    labelled = label(tray)
    tray.kill()
    tray.start()
    again = prepared(tray.prepare(daemon)), prepared(tray.prepare(channel))
    errors = tray.release(channel, daemon)

    assert list(devices) == ["channel-0", "daemon-0"]
    assert f"CLIQUE_ID={CLUSTER}.{NUMBER}" in edits.env
    assert {"/imexd", "/usr/bin/nvidia-imex", "/usr/bin/nvidia-imex-ctl"} <= {
        mount.container_path for mount in edits.mounts
    }
    assert {f"/dev/nvidia{minor}" for minor in range(4)} <= {node.path for node in edits.device_nodes}
    assert [node.minor for node in nodes] == list(range(2048))
    majors = dict(
        reversed(line.split())  # type: ignore[misc]
        for line in (tray.node.host_root / "proc/devices").read_text().splitlines()
        if line.endswith("nvidia-caps-imex-channels")
    )
    assert {str(node.major) for node in nodes} == {majors["nvidia-caps-imex-channels"]}
    assert labelled == UID
    assert again == (first, second)
    assert errors == ["", ""]
    assert label(tray) is None
    assert sorted(path.name for path in tray.cdi_root.iterdir()) == [
        "k8s.compute-domain.nvidia.com-device_base.json"
    ]


def test_a_claim_that_waits_when_the_plugin_is_killed_goes_on_with_its_label(
    tray: DrivenNode, kubelet: ThreadPoolExecutor
) -> None:
    tray.start()
    channel = claim(tray, "channel")
    calling = kubelet.submit(tray.prepare, channel)
    wait_until("the label", lambda: label(tray) == UID, seconds=20, seen=tray.log_end)
    journal = tray.plugins / COMPUTE_DOMAIN_DRIVER / "claims.journal"
    wait_until("the claim to wait", lambda: "waiting" in journal.read_text(), seconds=20, seen=tray.log_end)
    tray.kill()
    assert calling.exception(timeout=30) is not None
    tray.start()
    kept = label(tray)
    daemon_is_ready(tray)

    assert kept == UID
    assert [device for device, _ in prepared(tray.prepare(channel))] == ["channel-0"]


def test_a_tray_that_is_not_attached_yet_is_not_served(tray: DrivenNode) -> None:
    tray.node.call("set_fabric", gpu=0, progress=2)

    with pytest.raises(RuntimeError, match=r"is not attached to its NVLink fabric: registration in progress"):
        tray.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="the driver root as / needs root")
def test_the_hosts_own_nvidia_imex_is_waited_for(tray: DrivenNode, kubelet: ThreadPoolExecutor) -> None:
    tray.node.call("configure_imex", address="127.0.0.1", nodes=["127.0.0.1"])
    tray.start(HOST, "--imex-mode", "hostManaged")
    devices = tray.wait_devices(lambda found: len(found) == 1)
    channel = claim(tray, "channel")
    calling: Future[list[Answer]] = kubelet.submit(tray.prepare, channel)
    journal = tray.plugins / COMPUTE_DOMAIN_DRIVER / "claims.journal"
    wait_until("the claim to wait", lambda: "waiting" in journal.read_text(), seconds=20, seen=tray.log_end)
    tray.node.call("start_imex")

    assert list(devices) == ["channel-0"]
    assert [device for device, _ in prepared(calling.result(timeout=60))] == ["channel-0"]
    assert label(tray) is None
