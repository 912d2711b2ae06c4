"""An HGX H100 with shared NVSwitches: the driver joins the GPUs of a claim through `libnvfm.so`."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from claimwright.e2e.driven_node import DrivenNode

GATES = "FabricManagerPartitioning=true,PassthroughSupport=true"
pytestmark = pytest.mark.e2e


@pytest.fixture
def node() -> Iterator[DrivenNode]:
    with DrivenNode("hgx-h100") as node:
        node.node.call("start_fabric_manager", mode="shared_nvswitch")
        yield node


def joined(node: DrivenNode) -> set[int]:
    """The GPUs that reach another over NVLink, by index."""
    matrix = node.node.call("snapshot")["nvlink_matrix"]
    return {index for index, row in enumerate(matrix) if any(row)}


def active_partitions(node: DrivenNode) -> list[int]:
    """By number, as the fabric manager has them."""
    partitions = node.node.call("snapshot")["fabric_manager"]["partitions"]
    return [each["id"] for each in partitions if each["active"]]


def partition_of(node: DrivenNode, prefix: str, size: int) -> list[str]:
    """The first devices of a kind that can be joined so many at a time."""
    devices = node.wait_devices(lambda found: len(found) == 16)  # eight GPUs, whole and for machines
    same = {name: each for name, each in devices.items() if re.fullmatch(rf"{prefix}\d+", name)}
    numbers = {name: int(str(each.attributes[f"partition{size}"])) for name, each in same.items()}
    return sorted(name for name, number in numbers.items() if number == min(numbers.values()))


@pytest.mark.capability("004-06")
@pytest.mark.parametrize("kind", ["gpu-vfio-", "gpu-"])
def test_two_gpus_of_a_claim_are_joined_and_parted(node: DrivenNode, kind: str) -> None:
    node.start(GATES)
    devices = partition_of(node, kind, 2)
    claim = node.claim("two", devices)

    assert node.prepare(claim)[0].error == ""
    # GPUs that NVML sees no more are joined all the same; those of a virtual machine are.
    active = active_partitions(node)
    held = joined(node)
    assert node.release(claim)[0] == ""

    assert len(devices) == len(held) == 2
    assert len(active) == 1
    assert joined(node) == set()
    assert active_partitions(node) == []


def test_gpus_that_cannot_be_joined_are_refused_and_stay_where_they_are(node: DrivenNode) -> None:
    node.start(GATES)
    first, *_ = partition_of(node, "gpu-vfio-", 2)
    pair = {*partition_of(node, "gpu-vfio-", 2)}
    other = next(name for name in node.devices() if name.startswith("gpu-vfio-") and name not in pair)
    drivers = [gpu["driver"] for gpu in node.node.call("snapshot")["gpus"]]

    error = node.prepare(node.claim("odd", [first, other]))[0].error

    assert "are no partition of the fabric manager" in error
    assert "matchAttribute gpu.nvidia.com/partition2" in error
    assert [gpu["driver"] for gpu in node.node.call("snapshot")["gpus"]] == drivers


def test_a_driver_that_is_killed_finds_what_it_joined(node: DrivenNode) -> None:
    node.start(GATES)
    devices = partition_of(node, "gpu-vfio-", 4)
    claim = node.claim("four", devices)
    assert node.prepare(claim)[0].error == ""
    node.kill()

    node.start(GATES)
    assert node.prepare(claim)[0].error == ""
    assert len(joined(node)) == 4
    assert node.release(claim)[0] == ""

    assert joined(node) == set()


def test_a_fabric_manager_that_stopped_delays_claims_until_it_is_back(node: DrivenNode) -> None:
    node.start(GATES)
    claim = node.claim("two", partition_of(node, "gpu-vfio-", 2))
    node.node.call("stop_fabric_manager")
    refused = node.prepare(claim)[0].error
    node.node.call("start_fabric_manager", mode="shared_nvswitch")
    deadline = time.monotonic() + 20
    while (error := node.prepare(claim)[0].error) and time.monotonic() < deadline:
        time.sleep(0.2)

    assert "the fabric manager could not be reached" in refused
    assert error == ""


def test_a_fabric_that_is_not_shared_changes_nothing(node: DrivenNode) -> None:
    node.node.call("stop_fabric_manager")
    node.node.call("start_fabric_manager", mode="bare_metal")
    node.start(GATES)
    node.wait_devices(lambda found: "gpu-vfio-0" in found)

    assert "gpuModuleID" not in node.devices()["gpu-0"].attributes
    assert node.prepare(node.claim("odd", ["gpu-0", "gpu-5"]))[0].error == ""
