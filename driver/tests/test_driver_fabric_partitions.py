"""GPUs of one claim are joined by the fabric manager while the claim is held, or the claim is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claimwright.dra.claims import Claim
from claimwright.dra.testing import FakeApi
from claimwright.driver.adapters.fabric_manager import Address, NvidiaFabricManager
from claimwright.driver.driver_root import DriverRoot
from claimwright.driver.errors import ClaimRefused, StepFailed
from claimwright.driver.inventory import keep_known
from claimwright.driver.node_reader import discover_node
from claimwright.driver.testing import MemoryFabricManager, allocated_gpus
from claimwright.driver.testing.memory_node import NODE, MemoryNode, Started

# Modules of the node: 1 and 2 are of GPUs that can be cut and are a partition together, 4 is of gpu-3, which is plain.
BOTH = 6


@pytest.fixture
def node(tmp_path: Path) -> Iterator[MemoryNode]:
    with FakeApi() as api, closing(MemoryNode(tmp_path, api)) as node:
        yield node


@pytest.fixture
def fabric(node: MemoryNode) -> MemoryFabricManager:
    found = node.doors.fabric
    assert isinstance(found, MemoryFabricManager)
    return found


def claim_of(devices: Sequence[str], name: str = "a", *, admin: bool = False) -> Claim:
    item: dict[str, Any] = allocated_gpus(name, devices, pool=NODE)
    if admin:
        for result in item["status"]["allocation"]["devices"]["results"]:
            result["adminAccess"] = True
    return Claim.from_object(item)


async def prepared(started: Started, claim: Claim) -> str:
    await started.machine.prepare(started.planner.plan(claim))
    return claim.uid


def active(fabric: MemoryFabricManager) -> list[tuple[int, ...]]:
    fabric.away = False
    return [each.modules for each in fabric.partitions() if each.active]


@pytest.mark.capability("004-06")
@pytest.mark.parametrize(
    ("devices", "modules"),
    [
        (["gpu-0", "gpu-1"], (1, 2)),
        (["gpu-1", "gpu-0"], (1, 2)),
        (["gpu-3"], (4,)),
        (["gpu-vfio-0", "gpu-vfio-1"], (1, 2)),
        (["gpu-0", "gpu-vfio-1"], (1, 2)),
    ],
)
async def test_the_gpus_of_a_claim_are_joined_while_it_is_held(
    node: MemoryNode, fabric: MemoryFabricManager, devices: list[str], modules: tuple[int, ...]
) -> None:
    started = await node.start()

    uid = await prepared(started, claim_of(devices))
    held = active(fabric)
    await started.machine.release(uid)

    assert held == [modules]
    assert active(fabric) == []


async def test_a_claim_whose_gpus_are_no_partition_is_refused_before_anything_is_touched(
    node: MemoryNode, fabric: MemoryFabricManager
) -> None:
    started = await node.start()
    before = node.world()

    with pytest.raises(
        ClaimRefused, match=r"gpu-1, gpu-3 have the modules 2, 4, .*: 1, 2\. .*gpu.nvidia.com/partition2"
    ):
        started.planner.plan(claim_of(["gpu-1", "gpu-3"]))

    assert node.world() == before
    assert active(fabric) == []


@pytest.mark.parametrize(
    "devices", [["gpu-0-mig-1g10gb-19-0"], ["gpu-0-mig-1g10gb-19-0", "gpu-1-mig-1g10gb-19-0"]]
)
async def test_partitions_of_gpus_need_no_nvlink(
    node: MemoryNode, fabric: MemoryFabricManager, devices: list[str]
) -> None:
    started = await node.start()

    await prepared(started, claim_of(devices))

    assert active(fabric) == []


async def test_who_only_looks_joins_nothing(node: MemoryNode, fabric: MemoryFabricManager) -> None:
    started = await node.start()

    await prepared(started, claim_of(["gpu-1", "gpu-3"], admin=True))

    assert active(fabric) == []


async def test_what_an_administrator_joined_stays_joined(
    node: MemoryNode, fabric: MemoryFabricManager
) -> None:
    fabric.activate(BOTH)
    started = await node.start()

    uid = await prepared(started, claim_of(["gpu-0", "gpu-1"]))
    await started.machine.release(uid)

    assert active(fabric) == [(1, 2)]


async def test_a_gpu_that_is_joined_to_others_waits_and_nothing_of_the_claim_stays(
    node: MemoryNode, fabric: MemoryFabricManager
) -> None:
    fabric.activate(BOTH)
    started = await node.start()
    before = node.world()
    claim = claim_of(["gpu-vfio-0"])

    with pytest.raises(StepFailed, match="in use"):
        await prepared(started, claim)

    assert node.world() == before
    fabric.deactivate(BOTH)
    await prepared(started, claim)
    assert active(fabric) == [(1,)]


async def test_a_fabric_manager_that_is_away_delays_a_claim_and_its_release(
    node: MemoryNode, fabric: MemoryFabricManager
) -> None:
    started = await node.start()
    claim = claim_of(["gpu-0", "gpu-1"])
    fabric.away = True

    with pytest.raises(StepFailed, match="nobody listens"):
        await prepared(started, claim)
    fabric.away = False
    uid = await prepared(started, claim)
    fabric.away = True
    with pytest.raises(StepFailed, match="nobody listens"):
        await started.machine.release(uid)
    fabric.away = False
    await started.machine.release(uid)

    assert active(fabric) == []
    assert started.machine.entries == ()


def test_one_that_is_away_for_a_while_changes_nothing_of_what_is_offered(
    node: MemoryNode, fabric: MemoryFabricManager
) -> None:
    before = discover_node(node.doors, lambda *_: False, None)
    fabric.away = True

    now = keep_known(discover_node(node.doors, lambda *_: False, None), before, node.doors.host)

    assert now.fabric_partitions == before.fabric_partitions
    assert now.fabric_partitions


async def test_the_slices_say_which_gpus_can_be_joined(node: MemoryNode) -> None:
    offers = (await node.start()).planner.stock.offers
    said = {
        name: {
            key: value
            for key, value in offers[name].device.attributes.items()
            if key.startswith(("part", "gpuM"))
        }
        for name in ("gpu-0", "gpu-vfio-1", "gpu-3", "gpu-0-mig-1g10gb-19-0")
    }

    assert said == {
        "gpu-0": {"gpuModuleID": 1, "partition1": 0, "partition2": BOTH},
        "gpu-vfio-1": {"gpuModuleID": 2, "partition1": 1, "partition2": BOTH},
        "gpu-3": {"gpuModuleID": 4, "partition1": 3},
        "gpu-0-mig-1g10gb-19-0": {},
    }


async def test_a_gpu_that_nvml_does_not_see_is_known_to_the_fabric_manager(
    node: MemoryNode, fabric: MemoryFabricManager
) -> None:
    started = await node.start()
    stock = started.planner.stock
    blind = [replace(gpu, module_id=None) for gpu in stock.inventory.gpus]
    stock.renew(replace(stock.inventory, gpus=tuple(blind)))

    await prepared(started, claim_of(["gpu-vfio-0", "gpu-vfio-1"]))

    assert active(fabric) == [(1, 2)]


async def test_without_the_gate_nothing_is_joined(tmp_path: Path) -> None:
    with FakeApi() as api:
        node = MemoryNode(tmp_path, api, gates="PassthroughSupport=true")
        started = await node.start()
        await prepared(started, claim_of(["gpu-1", "gpu-3"]))

    assert node.doors.fabric is None
    assert "gpuModuleID" not in started.planner.stock.offers["gpu-1"].device.attributes


@pytest.mark.parametrize(
    ("environment", "address"),
    [
        ({}, Address("/root/run/nvidia-fabricmanager/socket", is_unix_socket=True)),
        ({"NVIDIA_FABRICMANAGER_UNIX_SOCKET": "/x"}, Address("/x", is_unix_socket=True)),
        ({"NVIDIA_FABRICMANAGER_ADDRESS": ""}, Address("127.0.0.1", is_unix_socket=False)),
        ({"NVIDIA_FABRICMANAGER_ADDRESS": "10.0.0.1:6666"}, Address("10.0.0.1:6666", is_unix_socket=False)),
    ],
)
def test_the_fabric_manager_is_where_the_community_driver_looks(
    environment: dict[str, str], address: Address
) -> None:
    assert Address.choose(DriverRoot(Path("/root"), Path("/")), environment) == address  # type: ignore[arg-type]


def test_a_library_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    library = tmp_path / "libnvfm.so"
    library.write_text("no library")
    manager = NvidiaFabricManager(library, Address("/nowhere", is_unix_socket=True))

    with pytest.raises(StepFailed, match=r"libnvfm\.so cannot be loaded"):
        manager.partitions()
