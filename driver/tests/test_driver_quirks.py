"""What the community driver is known to get wrong (docs/quirks.md), where no other test of a subject shows it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from claimwright.dra.claims import Claim
from claimwright.dra.slices import plan_slices
from claimwright.dra.testing import FakeApi, allocated_claim
from claimwright.driver.entries import Entry
from claimwright.driver.errors import ClaimRefused, StepFailed
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.inventory import discover, pci_address
from claimwright.driver.ports import ComputeInstance, GpuClient, MigReading, Partition, Placement
from claimwright.driver.publishing import pool_of
from claimwright.driver.repertoire import recipes
from claimwright.driver.settings import GPU_DRIVER
from claimwright.driver.stock import Stock
from claimwright.driver.testing import (
    GpuPrograms,
    MemoryHost,
    MemoryNvml,
    allocated_gpus,
    gpu_reading,
    h100_profiles,
)
from claimwright.driver.testing.memory_node import NODE, MemoryNode

PARTITION = "gpu-0-mig-1g10gb-19-0"
KERNEL_DEVICES = PurePosixPath("/proc/devices")
NODE_OF_GPU_0 = PurePosixPath("/dev/nvidia0")
GPU_3 = pci_address(gpu_reading(3).pci_bus_id)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[MemoryNode]:
    with FakeApi() as api, closing(MemoryNode(tmp_path, api)) as node:
        yield node


def of_two_drivers() -> Claim:
    """A claim that holds a device of another driver before the partition of ours."""
    item: dict[str, Any] = allocated_claim("mixed", GPU_DRIVER, [("gpu", NODE, PARTITION)])
    results = item["status"]["allocation"]["devices"]["results"]
    results.insert(
        0, {"request": "nic", "driver": "nic.example.com", "pool": "elsewhere", "device": "gpu-0-mig-rubbish"}
    )
    return Claim.from_object(item)


@pytest.mark.parametrize("foreign", [False, True], ids=["ours alone", "with another driver's device"])
async def test_a_claim_that_fails_after_its_partition_was_cut_is_rolled_back_without_a_restart(
    node: MemoryNode, foreign: bool
) -> None:
    started = await node.start()
    claim = of_two_drivers() if foreign else node.claim("alone", PARTITION)
    before = node.world()
    host: Any = node.doors.host
    numbers, modules = host.devices.pop(NODE_OF_GPU_0), host.files[KERNEL_DEVICES]
    host.files[KERNEL_DEVICES] = modules.replace("195 nvidia\n", "")

    with pytest.raises(StepFailed, match=r"/dev/nvidia0 of .* does not exist"):
        await started.machine.prepare(started.planner.plan(claim))
    left = started.machine.entries
    host.devices[NODE_OF_GPU_0], host.files[KERNEL_DEVICES] = numbers, modules
    after = node.world()
    entry = await started.machine.prepare(started.planner.plan(claim))

    assert left == ()
    assert after == before
    assert [held.device for held in entry.devices] == [PARTITION]


async def test_a_gpu_in_use_keeps_no_other_claim_waiting(node: MemoryNode) -> None:
    node.doors.usage.use(GPU_3, GpuClient(4711, "python3"))  # type: ignore[attr-defined]
    started = await node.start()
    busy = started.planner.plan(node.claim("machine", "gpu-vfio-3"))
    other = started.planner.plan(node.claim("pod", "gpu-1"))

    # Nobody moves the node's clock: who waited for the GPU would wait for ever.
    refused, prepared = await asyncio.wait_for(
        asyncio.gather(started.machine.prepare(busy), started.machine.prepare(other), return_exceptions=True),
        timeout=30,
    )

    assert "in use by process 4711 (python3)" in str(refused)
    assert isinstance(prepared, Entry)
    assert prepared.uid == other.uid


async def test_a_restarted_driver_still_gives_a_gpu_in_one_form_only(node: MemoryNode) -> None:
    started = await node.start()
    entry = await started.machine.prepare(started.planner.plan(node.claim("machine", "gpu-vfio-3")))
    await started.machine.stop(timeout_seconds=5)

    again = await node.start()
    await again.machine.recover()
    with pytest.raises(ClaimRefused, match="gpu-3"):
        await again.machine.prepare(again.planner.plan(node.claim("pod", "gpu-3")))
    await again.machine.release(entry.uid)
    free = await node.start()

    assert node.doors.host.driver(GPU_3) == "nvidia"  # type: ignore[attr-defined]
    await free.machine.prepare(free.planner.plan(node.claim("pod", "gpu-3")))


def test_devices_are_published_in_one_order_and_in_as_many_slices_as_they_need() -> None:
    gpus = [gpu_reading(minor, pci_bus_id=f"00000000:{minor:02X}:00.0") for minor in range(150)]

    def slices() -> list[dict[str, Any]]:
        random.shuffle(gpus)
        stock = Stock(recipes(FeatureGates.parse("")), discover(MemoryNvml(gpus), MemoryHost()))
        return plan_slices(GPU_DRIVER, pool_of(NODE, stock), 1)

    first, second = slices(), slices()
    devices = [[device["name"] for device in each["spec"]["devices"]] for each in first]

    assert first == second
    assert [name for names in devices for name in names] == [f"gpu-{minor}" for minor in range(150)]
    assert len(devices) == 2
    assert max(map(len, devices)) <= 128


async def test_an_entry_names_its_claim_for_as_long_as_it_is_held(node: MemoryNode) -> None:
    started = await node.start()
    entry = await started.machine.prepare(started.planner.plan(node.claim("a", "gpu-3")))
    await started.machine.stop(timeout_seconds=5)
    again = await node.start()

    (known,) = again.machine.entries
    assert (known.claim.namespace, known.claim.name, known.uid) == ("default", "a", entry.uid)


@pytest.mark.parametrize("gates", ["", "DynamicMIG=true"])
@pytest.mark.parametrize("told", [True, False], ids=["profiles are told", "no profiles"])
def test_a_guest_that_cannot_cut_its_gpu_is_published_with_what_is_cut_already(
    gates: str, told: bool
) -> None:
    # A vGPU guest sees the partition that its host made, and has no place to make another.
    profiles = tuple(replace(profile, placements=()) for profile in h100_profiles() if told)
    made = Partition(7, 9, Placement(4, 4), (ComputeInstance(0, "MIG-0001"),))
    guest = gpu_reading(0, architecture=7, mig=MigReading(True, True, profiles, (made,)))

    stock = Stock(recipes(FeatureGates.parse(gates)), discover(MemoryNvml([guest]), MemoryHost()))
    published = plan_slices(GPU_DRIVER, pool_of(NODE, stock), 1)
    names = [device["name"] for each in published for device in each["spec"].get("devices", ())]

    assert names == (["gpu-0-mig-3g40gb-9-4"] if told else [])


async def test_one_claim_has_a_config_for_each_of_its_gpus(node: MemoryNode) -> None:
    item = allocated_gpus(
        "both",
        ["gpu-0", "gpu-1"],
        pool=NODE,
        config=[
            _config("gpu-0", {"strategy": "TimeSlicing", "timeSlicingConfig": {"interval": "Long"}}),
            _config("gpu-1", {"strategy": "MPS", "mpsConfig": {"defaultActiveThreadPercentage": 50}}),
        ],
    )
    started = await node.start()
    await started.machine.prepare(started.planner.plan(Claim.from_object(item)))
    world = node.doors.processes
    assert isinstance(world, GpuPrograms)

    assert world.time_slices == {gpu_reading(0).uuid: 3}
    assert [daemon["CUDA_VISIBLE_DEVICES"] for daemon in world.living.values()] == [gpu_reading(1).uuid]
    assert list(world.limits.values()) == [["set_default_active_thread_percentage 50"]]


def _config(request: str, sharing: dict[str, Any]) -> dict[str, Any]:
    parameters = {"apiVersion": "resource.nvidia.com/v1beta1", "kind": "GpuConfig", "sharing": sharing}
    opaque = {"driver": GPU_DRIVER, "parameters": parameters}
    return {"source": "FromClaim", "requests": [request], "opaque": opaque}
