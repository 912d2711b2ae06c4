"""Every fault that a driver can see: fault, taint, health stream, cure, no taint; on a real process and library."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from claimwright.dra.kube import EVENTS, RESOURCE_SLICES
from claimwright.dra.kubelet import PluginClient, wait_for_plugin
from claimwright.e2e.deadlines import wait_until
from claimwright.e2e.driven_node import DRIVER, DrivenNode
from claimwright.emulator.errors import OperationRefused
from claimwright.emulator.model.faults.table import FAULTS, parameters_of

pytestmark = pytest.mark.e2e
HEALTH = "NVMLDeviceHealthCheck=true"
XID, LOST = "gpu.nvidia.com/xid", "gpu.nvidia.com/gpu-lost"
SEEN_SECONDS = 30.0


@dataclass(frozen=True)
class Case:
    """A fault, the taint that it becomes, and what ends it: `clear` takes it away, `reset` and `reload` cure it."""

    name: str
    parameters: dict[str, Any]
    key: str
    effect: str
    ended_by: str

    def __str__(self) -> str:
        return " ".join([self.name, *map(str, self.parameters.values())])


SEEN = [
    Case("xid", {"xid": 48}, XID, "NoSchedule", "reset"),
    Case("xid", {"xid": 79}, LOST, "NoSchedule", "reset"),
    Case("xid", {"xid": 13}, XID, "None", "reload"),
    Case("reset-required", {}, "claimwright.dev/recovery", "NoSchedule", "reset"),
    Case("ecc-storm", {}, XID, "None", "reload"),
    Case("ecc-double-bit", {}, "claimwright.dev/memory", "NoSchedule", "reset"),
    Case("ecc-contained", {}, XID, "None", "reload"),
    Case("ecc-uncontained", {}, XID, "NoSchedule", "reset"),
    Case("row-remap", {}, "claimwright.dev/memory", "NoSchedule", "reset"),
    Case("row-remap-failure", {}, "claimwright.dev/memory", "NoSchedule", "clear"),
    Case("gpu-lost", {}, LOST, "NoSchedule", "reset"),
    Case("pcie-degraded", {"width": 8}, "claimwright.dev/pcie", "None", "reset"),
    Case("nvlink-down", {"link": 4}, "claimwright.dev/nvlink", "NoSchedule", "reset"),
    Case("nvswitch-fatal", {"switch": 0}, "claimwright.dev/recovery", "NoSchedule", "clear"),
    Case("fabric-degraded", {"what": "route"}, "claimwright.dev/fabric", "NoSchedule", "clear"),
    Case("fabric-degraded", {"what": "bandwidth"}, "claimwright.dev/fabric", "None", "clear"),
    Case("fabric-incomplete", {}, "claimwright.dev/fabric", "NoSchedule", "clear"),
    Case("thermal-slowdown", {}, "claimwright.dev/throttled", "None", "clear"),
    Case("thermal-shutdown", {}, LOST, "NoSchedule", "clear"),
    Case("power-brake", {}, "claimwright.dev/throttled", "None", "clear"),
    Case("inforom-corrupt", {}, "claimwright.dev/inforom", "None", "clear"),
    Case(
        "nvml-fails",
        {"function": "nvmlDeviceGetBrand", "code": "UNKNOWN"},
        "claimwright.dev/unreadable",
        "NoSchedule",
        "clear",
    ),
    Case("driver-reload", {}, "claimwright.dev/driver", "NoSchedule", "clear"),
]
ELSEWHERE = {
    "hot-remove": "the device goes, see the test of hotplug",
    "retired-pages": "of boards without a row remapper, see the test of a T4",
    "driver-mismatch": "a process that has NVML open goes on, see the test without the gate",
}
NOT_ITS_MATTER = {
    "ecc-single-bit": "corrected",
    "memory-exhausted": "a process's memory",
    "pcie-replays": "repeated successfully",
    "unbind-blocked": "the VFIO recipe reports who holds the GPU",
    "nvlink-errors": "counters of a link that is up",
    "fabric-manager-gone": "not told by NVML; routes stay",
    "imex-peer-loss": "of the compute domain's driver",
    "power-cap": "a limit that an administrator set",
    "clocks-stuck": "no event reason tells it from idle",
    "fan-failure": "of boards with fans; the heat is told",
    "nvml-slow": "slow and right",
    "slow-handles": "slow and right",
    "slow-mig-destroy": "slow and right",
    "mig-half-made": "the MIG recipe cleans up what it half made",
    "persistence-daemon-gone": "GPUs work without it",
}


def taints(node: DrivenNode, device: str | None = None) -> set[tuple[str, str]]:
    return {
        (taint.key, taint.effect)
        for name, found in node.devices().items()
        if device in (None, name)
        for taint in found.taints
    }


def seen(node: DrivenNode, what: str, fact: Any) -> None:
    wait_until(what, fact, seconds=SEEN_SECONDS, seen=lambda: f"{taints(node)}\n{node.log_end()}")


def listens(node: DrivenNode) -> bool:
    """Whether the driver hears events now: what happens while NVML comes back is not heard."""
    log = node.log.read_text()
    return log.rfind("listening for events") > log.rfind("the watch for events of GPUs ended")


def inject(node: DrivenNode, name: str, **parameters: Any) -> int:
    of_gpu = "gpu" in {each.name for each in parameters_of(FAULTS[name])}
    given = {"gpu": 3, **parameters} if of_gpu else parameters
    return int(node.node.call("inject_fault", fault=name, parameters=given)["number"] or 0)


def end(node: DrivenNode, number: int, how: str) -> None:
    if how == "reset":
        node.node.call("reset_gpu", gpu=3)
    elif how == "reload":
        number_of_ends = node.log.read_text().count("GPUs ended")
        node.node.call("clear_fault", number=inject(node, "driver-reload"))
        seen(node, "the end of NVML", lambda: node.log.read_text().count("GPUs ended") > number_of_ends)
    with contextlib.suppress(OperationRefused, Exception):
        node.node.call("clear_fault", number=number)


@pytest.fixture(scope="module")
def ward() -> Iterator[DrivenNode]:
    with DrivenNode("hgx-h100") as node:
        node.start(HEALTH, "--reread-seconds", "0.5")
        node.wait_devices(lambda found: len(found) == 8)
        yield node


def test_every_class_of_fault_is_tried_or_left_out_with_a_reason() -> None:
    named = {case.name for case in SEEN} | set(ELSEWHERE) | set(NOT_ITS_MATTER)

    assert sorted(set(FAULTS) - named) == []


@pytest.mark.capability("004-18")
@pytest.mark.capability("003-09")
@pytest.mark.parametrize(
    "case",
    SEEN,
    ids=str,
)
def test_a_fault_becomes_a_taint_and_its_end_takes_it_away(ward: DrivenNode, case: Case) -> None:
    key, effect = case.key, case.effect
    seen(ward, "the driver to listen", lambda: listens(ward))
    number = inject(ward, case.name, **case.parameters)
    try:
        seen(ward, f"{key}:{effect} on gpu-3", lambda: (key, effect) in taints(ward, "gpu-3"))
    finally:
        end(ward, number, case.ended_by)
    seen(ward, f"no {key} on gpu-3", lambda: not any(found == key for found, _ in taints(ward, "gpu-3")))
    # What only informs stays for ten minutes: the next case starts from a reloaded driver.
    if taints(ward):
        end(ward, 0, "reload")
    seen(ward, "no taint at all", lambda: not taints(ward))

    assert len(ward.devices()) == 8


def test_what_is_not_the_drivers_matter_taints_nothing(ward: DrivenNode) -> None:
    given = {
        "ecc-single-bit": {},
        "pcie-replays": {},
        "nvlink-errors": {"link": 2, "replay": 3},
        "power-cap": {},
        "clocks-stuck": {},
        "persistence-daemon-gone": {},
        "memory-exhausted": {},
    }
    numbers = [inject(ward, name, **parameters) for name, parameters in given.items()]
    before = len(ward.api.writes())
    deadline = time.monotonic() + 3
    try:
        while time.monotonic() < deadline:
            assert taints(ward) == set()
    finally:
        for number in filter(None, numbers):
            ward.node.call("clear_fault", number=number)
    assert len(ward.api.writes()) == before


def test_a_card_that_is_pulled_vanishes_and_comes_back_when_it_is_plugged_in(ward: DrivenNode) -> None:
    number = inject(ward, "hot-remove")
    seen(ward, "gpu-3 to vanish", lambda: "gpu-3" not in ward.devices())
    others = sorted(ward.devices())
    ward.node.call("clear_fault", number=number)
    seen(ward, "gpu-3 to come back", lambda: "gpu-3" in ward.devices())

    assert len(others) == 7
    assert list(ward.devices()) == [f"gpu-{minor}" for minor in range(8)]


@pytest.mark.parametrize("version", ["v1", "v1alpha1"])
def test_the_kubelet_hears_of_a_fault_and_of_its_end(ward: DrivenNode, version: str) -> None:
    async def listen() -> list[tuple[str, str]]:
        info = await wait_for_plugin(ward.registry, DRIVER, timeout_seconds=30)
        heard: list[tuple[str, str]] = []
        number = 0
        async with PluginClient(info.endpoint) as client:
            async for devices in client.watch_health(version, timeout_seconds=60):  # type: ignore[arg-type]
                assert [each.device for each in devices] == [f"gpu-{minor}" for minor in range(8)]
                health = next((each.health, each.message) for each in devices if each.device == "gpu-3")
                if not heard or heard[-1] != health:
                    heard.append(health)
                if health[0] == "Healthy" and not number:
                    number = await asyncio.to_thread(inject, ward, "gpu-lost")
                elif health[0] == "Unhealthy":
                    await asyncio.to_thread(end, ward, number, "reset")
                elif number:
                    break
        return heard

    heard = asyncio.run(listen())

    assert heard[0] == heard[-1] == ("Healthy", "")
    assert any("fell off the bus" in message for health, message in heard if health == "Unhealthy")
    seen(ward, "no taint at all", lambda: not taints(ward))


def test_an_idle_node_asks_the_api_server_nothing(ward: DrivenNode) -> None:
    seen(ward, "no taint at all", lambda: not taints(ward))
    before = list(ward.api.requests)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        time.sleep(0.5)

    assert ward.api.requests == before


def test_a_taint_outlives_the_driver_and_people_are_told_once(ward: DrivenNode) -> None:
    seen(ward, "the driver to listen", lambda: listens(ward))
    number = inject(ward, "xid", xid=95)
    seen(ward, "the XID", lambda: (XID, "NoSchedule") in taints(ward, "gpu-3"))
    ward.kill()
    before = ward.api.objects(RESOURCE_SLICES)
    ward.start(HEALTH, "--reread-seconds", "0.5")
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        assert (XID, "NoSchedule") in taints(ward, "gpu-3")
    same = ward.api.objects(RESOURCE_SLICES) == before
    notes = [each["note"] for each in ward.api.objects(EVENTS) if "XID 95" in each["note"]]
    end(ward, number, "reset")
    seen(ward, "no taint at all", lambda: not taints(ward))

    assert same
    assert 1 <= len(notes) <= 4


def test_an_event_of_a_partition_taints_that_partition_only() -> None:
    with DrivenNode("hgx-h100") as node:
        node.node.call("set_mig_mode", gpu=0, enabled=True)
        made = [node.node.call("create_gpu_instance", gpu=0, profile=19) for _ in range(2)]
        for each in made:
            node.node.call("create_compute_instance", gpu=0, gpu_instance=each["id"], profile=0)
        node.start(f"{HEALTH},DynamicMIG=true", "--reread-seconds", "0.5")
        node.wait_devices(lambda found: len(found) > 100)
        seen(node, "the driver to listen", lambda: listens(node))
        inject(node, "xid", gpu=0, xid=94, gpu_instance=made[0]["id"], compute_instance=0)
        seen(node, "a taint", lambda: bool(taints(node)))
        tainted = [name for name, device in node.devices().items() if device.taints]

        assert len(tainted) == 1
        assert tainted[0].startswith("gpu-0-mig-1g10gb-19-")


def test_pages_to_retire_on_a_board_without_a_row_remapper_taint_it() -> None:
    with DrivenNode("t4") as node:
        node.start(HEALTH, "--reread-seconds", "0.5")
        node.wait_devices(lambda found: "gpu-0" in found)
        number = inject(node, "retired-pages", gpu=0)
        seen(node, "pages pending", lambda: ("claimwright.dev/memory", "NoSchedule") in taints(node))
        node.node.call("clear_fault", number=number)
        end(node, 0, "reload")
        seen(node, "no taint at all", lambda: not taints(node))


def test_without_the_gate_a_lost_gpu_and_half_an_update_are_told_and_nothing_else() -> None:
    with DrivenNode("hgx-h100") as node:
        node.start("", "--reread-seconds", "0.5")
        node.wait_devices(lambda found: len(found) == 8)
        xid = inject(node, "xid", xid=48)
        lost = inject(node, "gpu-lost", gpu=1)
        seen(node, "the loss", lambda: taints(node) == {(LOST, "NoSchedule")})
        for number in (xid, lost):
            node.node.call("clear_fault", number=number)
        seen(node, "no taint", lambda: not taints(node))
        mismatch = inject(node, "driver-mismatch")
        seen(node, "the mismatch", lambda: taints(node) == {("claimwright.dev/driver", "NoSchedule")})
        node.node.call("clear_fault", number=mismatch)
        seen(node, "no taint", lambda: not taints(node))


def test_claims_on_a_gpu_that_is_pulled_are_told_and_can_be_released() -> None:
    with DrivenNode("hgx-h100") as node:
        node.start(f"{HEALTH},DynamicMIG=true", "--reread-seconds", "0.5")
        node.wait_devices(lambda found: "gpu-3" in found)
        claim = node.claim("a", ["gpu-3-mig-1g10gb-19-0"])
        node.prepared(claim)
        inject(node, "hot-remove")
        seen(node, "gpu-3 to vanish", lambda: "gpu-3" not in node.devices())
        told = [each["note"] for each in node.api.objects(EVENTS)]
        node.released(claim)

    assert any("gpu-3-mig-1g10gb-19-0, which claim default/a" in note for note in told)
