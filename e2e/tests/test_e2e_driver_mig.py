"""Partitions of a GPU through the driver: on a real process, an emulated board, through NVML."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from claimwright.dra.prepared import PreparedDevice
from claimwright.e2e.driven_node import DrivenNode

pytestmark = pytest.mark.e2e
DYNAMIC = "DynamicMIG=true"
MODE = "print(n.nvmlDeviceGetMigMode(n.nvmlDeviceGetHandleByIndex({}))[0])"
MIG_DEVICES = """
gpu = n.nvmlDeviceGetHandleByIndex({})
for index in range(n.nvmlDeviceGetMaxMigDeviceCount(gpu)):
    try:
        print(n.nvmlDeviceGetUUID(n.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index)))
    except n.NVMLError_NotFound:
        pass
"""


@pytest.fixture
def node() -> Iterator[DrivenNode]:
    with DrivenNode("hgx-h100") as node:
        yield node


def mode(node: DrivenNode, gpu: int = 0) -> str:
    return node.nvml(MODE.format(gpu))


def partitions(node: DrivenNode, gpu: int = 0) -> list[str]:
    return node.nvml(MIG_DEVICES.format(gpu)).split() if mode(node, gpu) == "1" else []


def nodes(node: DrivenNode, devices: tuple[PreparedDevice, ...]) -> set[str]:
    return {item.path for item in node.edits(devices).device_nodes}


@pytest.mark.capability("000-06")
def test_a_claim_cuts_the_gpu_and_its_release_makes_it_whole(node: DrivenNode) -> None:
    node.start(DYNAMIC)
    claim = node.claim("a", ["gpu-0-mig-1g10gb-19-0"])

    devices = node.prepared(claim)
    cut = partitions(node)
    paths = nodes(node, devices)
    node.released(claim)

    assert len(cut) == 1
    assert "/dev/nvidia0" in paths
    assert len([path for path in paths if path.startswith("/dev/nvidia-caps/nvidia-cap")]) == 2
    assert (mode(node), partitions(node)) == ("0", [])


def test_the_slices_say_what_excludes_what(node: DrivenNode) -> None:
    node.start(DYNAMIC)
    devices = node.wait_devices(lambda found: len(found) > 100)

    sets = {item.name: item.counters for found in node.slices() for item in found.shared_counters}
    one, whole = devices["gpu-3-mig-1g10gb-19-2"], devices["gpu-3"]

    assert len(sets) == 8
    assert whole.consumes_counters[0].counters == sets["gpu-3-counter-set"]
    assert "memory-slice-2" in one.consumes_counters[0].counters
    assert one.attributes["parentUUID"] == whole.attributes["uuid"]
    assert "uuid" not in one.attributes


@pytest.mark.capability("003-05")
@pytest.mark.capability("004-07")
def test_two_claims_share_a_gpu_and_the_last_one_switches_the_mode_off(node: DrivenNode) -> None:
    node.start(DYNAMIC)
    one, other = (node.claim(name, [f"gpu-0-mig-1g10gb-19-{place}"]) for name, place in (("a", 0), ("b", 1)))
    for claim in (one, other):
        node.prepared(claim)

    node.released(one)
    left = partitions(node)
    node.released(other)

    assert len(left) == 1
    assert mode(node) == "0"


def test_what_does_not_fit_is_refused_before_the_gpu_is_touched(node: DrivenNode) -> None:
    node.start(DYNAMIC)
    whole, part = node.claim("whole", ["gpu-0"]), node.claim("part", ["gpu-0-mig-3g40gb-9-0"])
    node.prepared(whole)

    (refused,) = node.prepare(part)

    assert "is already allocated to different claim" in refused.error
    assert mode(node) == "0"


@pytest.mark.capability("003-04")
@pytest.mark.capability("004-07")
def test_a_partition_that_somebody_else_made_is_offered_and_kept(node: DrivenNode) -> None:
    node.node.call("set_mig_mode", gpu=0, enabled=True)
    made = node.node.call("create_gpu_instance", gpu=0, profile=19)
    node.node.call("create_compute_instance", gpu=0, gpu_instance=made["id"], profile=0)
    before = partitions(node)
    node.start(DYNAMIC)
    devices = node.wait_devices(lambda found: "gpu-1" in found)
    (offered,) = (device for device in devices.values() if device.attributes.get("uuid") in before)
    claim = node.claim("a", [offered.name])

    node.prepared(claim)
    node.released(claim)

    assert "gpu-0" not in devices
    assert partitions(node) == before


@pytest.mark.parametrize("profile", ["dgx-a100"])
def test_a_board_that_needs_a_reset_is_cut_only_in_mig_mode(profile: str) -> None:
    with DrivenNode(profile) as node:
        node.node.call("set_mig_mode", gpu=1, enabled=True)
        node.node.call("reset_gpu", gpu=1)
        node.start(DYNAMIC)
        devices = node.wait_devices(lambda found: "gpu-0" in found and "gpu-2" in found)

        assert "gpu-1" not in devices
        assert {name.partition("-mig-")[0] for name in devices if "-mig-" in name} == {"gpu-1"}
        claim = node.claim("a", [next(name for name in devices if "-mig-" in name)])
        node.prepared(claim)
        assert len(partitions(node, 1)) == 1
        node.released(claim)
        assert mode(node, 1) == "1"


def test_a_killed_driver_finds_its_partitions_again(node: DrivenNode) -> None:
    node.start(DYNAMIC)
    claim = node.claim("a", ["gpu-0-mig-2g20gb-14-0"])
    first = node.prepared(claim)
    made = partitions(node)
    node.kill()

    node.start(DYNAMIC)

    assert node.prepared(claim) == first
    assert partitions(node) == made
    node.released(claim)
    assert partitions(node) == []
