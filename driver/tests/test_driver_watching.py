"""The flow that keeps slices true: what it sees, when it looks, what it writes, and what it leaves alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import cast

import pytest

from claimwright.dra.claims import ClaimReference, ClaimUid
from claimwright.dra.kube import EVENTS
from claimwright.dra.slices import Pool, plan_slices
from claimwright.dra.testing import FakeApi
from claimwright.driver.doors import Doors
from claimwright.driver.entries import Entry, HeldDevice, State
from claimwright.driver.errors import NvmlUnusable
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.health import HealthBoard, Notices, Physician, XidBook, XidPolicy
from claimwright.driver.inventory import Inventory, discover, keep_known, signature
from claimwright.driver.known_gpus import KnownGpus
from claimwright.driver.layout import Layout
from claimwright.driver.node_reader import NodeReader
from claimwright.driver.ownership import Ownership
from claimwright.driver.ports import GpuEvent, MigReading, NodeReading, Partition, Placement, UnreadableGpu
from claimwright.driver.repertoire import recipes
from claimwright.driver.stock import Stock
from claimwright.driver.testing import (
    HandClock,
    MemoryNvml,
    gpu_reading,
    h100_profiles,
    hgx_h100_host,
    wait_until,
)
from claimwright.driver.tools.mig_partition import mig_partition
from claimwright.driver.watching import NodeWatch

PERIOD = 30.0
MIG = MigReading(False, False, h100_profiles())
VERSION = Path("/proc/driver/nvidia/version")


class Node:
    """Two GPUs that can be cut, the flow over them, and every pool that it published."""

    def __init__(
        self, folder: Path, api: FakeApi, layout: Layout | None = None, gates: str = "DynamicMIG=true"
    ) -> None:
        self.nvml = MemoryNvml([gpu_reading(0, mig=MIG), gpu_reading(1, mig=MIG)])
        self.api = api
        self.host, self.clock = hgx_h100_host(), HandClock()
        self.pools: list[Pool] = []
        self.entries: tuple[Entry, ...] = ()
        self.reads = 0
        self.trouble: NvmlUnusable | None = None
        self.stock = Stock(recipes(FeatureGates.parse(gates)), discover(self.nvml, self.host))
        self.watch = NodeWatch(
            "node-a",
            self.stock,
            self,
            Physician(XidBook(folder / "health.json", "b"), XidPolicy(), self.clock, thorough=True),
            entries=lambda: self.entries,
            board=HealthBoard("node-a", self.clock),
            notices=Notices(api.kube(), "node-a", self.clock),
            layout=layout or Layout(),
            clock=self.clock,
            period_seconds=PERIOD,
        )

    def read(self, before: Inventory) -> Inventory:
        self.reads += 1
        if self.trouble is not None:
            raise self.trouble
        held = {device.hardware for entry in self.entries for device in entry.devices}
        return keep_known(discover(self.nvml, self.host), before, self.host, held)

    def signature(self) -> tuple[str, ...]:
        return signature(self.host)

    async def until(self, fact: Callable[[], object]) -> None:
        """Wait for a fact."""
        await wait_until(fact)

    async def passes(self, seconds: float) -> None:
        """Let time pass, as slowly as the flow can follow."""
        end = self.clock.now() + seconds
        while self.clock.now() < end:
            await self.until(lambda: self.clock.sleepers)
            self.clock.advance(min(1.0, end - self.clock.now()))

    @property
    def names(self) -> list[str]:
        return [device.name for device in self.pools[-1].devices]

    def taints(self) -> set[tuple[str, str]]:
        return {(taint.key, taint.effect) for device in self.pools[-1].devices for taint in device.taints}


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    with FakeApi() as api:
        node = Node(tmp_path, api)
        node.pools.append(node.watch.first_pool())
        task = asyncio.create_task(node.watch.run(node.pools.append))
        yield node
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def held(device: str, minor: int = 0, parts: frozenset[str] = frozenset()) -> Entry:
    address = gpu_reading(minor).pci_bus_id[4:].lower()
    device_held = HeldDevice("r", "node-a", device, address, ("x/y=z",), parts=parts)
    return Entry(ClaimReference("default", f"claim-{device}", ClaimUid(device)), (device_held,), ())


async def test_what_does_not_change_is_read_once_a_period_and_never_written(node: Node) -> None:
    await node.passes(10 * PERIOD)

    assert len(node.pools) == 1
    assert 9 <= node.reads <= 11


async def test_a_change_of_the_files_is_seen_within_two_seconds(node: Node) -> None:
    node.nvml.gpus = (*node.nvml.gpus, gpu_reading(2, mig=MIG))
    node.host.files[VERSION] = "another"  # type: ignore[index]
    await node.passes(2.5)
    await node.until(lambda: len(node.pools) == 2)

    assert "gpu-2" in node.names
    assert node.names[:3] == ["gpu-0", "gpu-1", "gpu-2"], "in the order of a fresh start"


async def test_a_gpu_that_was_exchanged_is_published_under_its_own_uuid_and_minor_number(node: Node) -> None:
    other = gpu_reading(7, uuid="GPU-another", mig=MIG, pci_bus_id=gpu_reading(1).pci_bus_id)
    node.nvml.gpus = (node.nvml.gpus[0], other)
    await node.passes(PERIOD)
    await node.until(lambda: len(node.pools) == 2)
    whole = {name: device for device in node.pools[-1].devices if "-mig-" not in (name := device.name)}

    assert list(whole) == ["gpu-0", "gpu-7"]
    assert whole["gpu-7"].attributes["uuid"] == "GPU-another"


async def test_an_event_is_followed_at_once_and_once_more_for_what_it_asks(node: Node) -> None:
    await node.until(lambda: node.clock.sleepers)
    node.watch.heard(GpuEvent(gpu_reading(1).uuid, 48))
    await node.until(lambda: len(node.pools) == 2)
    reads = node.reads
    await node.passes(3)

    assert ("gpu.nvidia.com/xid", "NoSchedule") in node.taints()
    assert node.reads == reads + 1


async def test_a_node_that_cannot_be_read_keeps_its_devices(node: Node) -> None:
    before = node.names
    node.trouble = NvmlUnusable("nvmlDeviceGetCount: Unknown Error")
    node.watch.poke()
    await node.until(lambda: node.reads == 1)
    once = len(node.pools)
    await node.passes(2)
    await node.until(lambda: len(node.pools) == 2)
    lasting, names = node.taints(), node.names
    node.trouble = None
    await node.passes(PERIOD)
    await node.until(lambda: len(node.pools) == 3)

    assert once == 1, "one failure tells nobody"
    assert lasting == {("claimwright.dev/driver", "NoSchedule")}
    assert before == names == node.names
    assert node.taints() == set()


async def test_a_driver_that_is_not_loaded_is_told_at_once_and_looked_for_more_and_more_slowly(
    node: Node,
) -> None:
    node.trouble = NvmlUnusable("Driver Not Loaded", "not-loaded")
    node.watch.poke()
    await node.until(lambda: len(node.pools) == 2)
    await node.passes(120)

    assert node.taints() == {("claimwright.dev/driver", "NoSchedule")}
    assert 6 <= node.reads <= 10


async def test_a_gpu_that_a_claim_gave_away_stays_with_its_counters_and_one_that_left_goes(
    node: Node,
) -> None:
    address = "0000:1b:00.0"
    driver = Path(f"/sys/bus/pci/devices/{address}/driver")
    node.entries = (held("gpu-vfio-0"),)
    node.host.links[driver] = "../../../bus/pci/drivers/vfio-pci"  # type: ignore[index]
    node.nvml.gpus = node.nvml.gpus[1:]
    await node.watch.look()
    given = list(node.pools)
    node.entries = ()
    await node.watch.look()

    assert len(given) == 1
    assert "gpu-0" not in node.names
    assert "gpu-1" in node.names


async def test_claims_on_a_gpu_that_was_pulled_out_are_kept_and_told(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    node.entries = (held("gpu-0"),)
    node.host.links = {path: to for path, to in node.host.links.items() if "1b:00" not in str(path)}
    node.host.files = {path: text for path, text in node.host.files.items() if "1b:00" not in str(path)}
    node.nvml.gpus = node.nvml.gpus[1:]
    await node.watch.look()
    health = {each.device: each.health for each in await anext(node.watch.board.watch())}

    assert "gpu-0" not in node.names
    assert health["gpu-0"] == "Unhealthy"
    assert "gpu-0, which claim default/claim-gpu-0 holds, is gone" in caplog.text


async def test_an_administrators_partition_takes_its_place_from_the_offers(node: Node) -> None:
    cut = replace(MIG, enabled=True, partitions=(Partition(2, 9, Placement(4, 4)),))
    node.nvml.gpus = (gpu_reading(0, mig=cut), node.nvml.gpus[1])
    await node.watch.look()

    assert "gpu-0" not in node.names
    assert "gpu-0-mig-3g40gb-9-4" not in node.names
    assert "gpu-0-mig-3g40gb-9-0" in node.names


async def test_without_counters_only_what_the_scheduler_cannot_mix_up_is_published(tmp_path: Path) -> None:
    with FakeApi() as api:
        node = Node(tmp_path, api)
        node.pools.append(node.watch.first_pool())
        running = asyncio.create_task(node.watch.run(node.pools.append))
        await node.until(lambda: node.clock.sleepers)
        node.watch.fields_dropped(["sharedCounters", "devices[].consumesCounters"])
        free = list(node.names)
        node.entries = (held("gpu-0-mig-3g40gb-9-0", parts=frozenset({"memory-slice-0"})),)
        node.watch.claims_changed()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    assert free == ["gpu-0", "gpu-1"]
    assert node.names == ["gpu-1"]
    assert node.pools[-1].shared_counters == ()
    assert not any(device.consumes_counters for device in node.pools[-1].devices)


async def test_without_taints_what_is_sick_is_not_published_at_all(node: Node) -> None:
    node.watch.fields_dropped(["devices[].taints"])
    await node.until(lambda: node.clock.sleepers)
    node.watch.heard(GpuEvent(gpu_reading(1).uuid, 48))
    await node.until(lambda: len(node.pools) == 2)

    assert {name.partition("-mig-")[0] for name in node.names} == {"gpu-0"}


@pytest.mark.parametrize(
    ("version", "layout"), [((1, 34), "beside"), ((1, 35), "per-set"), ((1, 37), "per-set")]
)
def test_the_layout_follows_the_version_of_the_api_server(version: tuple[int, int], layout: str) -> None:
    assert Layout.for_server(version).counter_layout == layout


@pytest.mark.parametrize("version", [(1, 34), (1, 37)])
async def test_eight_full_trees_fit_the_limits_and_a_change_of_one_gpu_is_one_slice(
    tmp_path: Path, version: tuple[int, int]
) -> None:
    with FakeApi() as api:
        node = Node(tmp_path, api, Layout.for_server(version))
        node.nvml.gpus = tuple(gpu_reading(minor, mig=MIG) for minor in range(8))
        node.stock.renew(node.read(node.stock.inventory))
        pool = node.watch.first_pool()
        before = plan_slices("gpu.nvidia.com", pool, 1)
        sick = replace(pool.devices[0], taints=())
        after = plan_slices(
            "gpu.nvidia.com", replace(pool, devices=(replace(sick, attributes={}), *pool.devices[1:])), 1
        )

    assert sum(len(each["spec"].get("devices", ())) for each in before) == 8 * 19
    assert max(len(each["spec"].get("devices", ())) for each in before) <= 64
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 1
    mixed = [each for each in before if each["spec"].get("devices") and each["spec"].get("sharedCounters")]
    assert len(mixed) == (8 if version < (1, 35) else 0)


def test_what_a_claim_made_or_left_while_the_node_was_read_is_still_its_own() -> None:
    place = Placement(0, 1)
    step = mig_partition("GPU-1", 19, place)
    entry = replace(held("gpu-0-mig-1g10gb-19-0"), steps=(step,))
    now: list[Entry] = []
    ownership = Ownership(lambda: tuple(now))

    with ownership.window() as own:
        foreign = own.partition("GPU-1", Partition(1, 19, place))
        now.append(entry)
        made = own.partition("GPU-1", Partition(1, 19, place))
        ownership.changed(now)
        now.clear()
        left = own.partition("GPU-1", Partition(1, 19, place))
    with ownership.window() as own:
        later = own.partition("GPU-1", Partition(1, 19, place))

    assert (foreign, made, left, later) == (False, True, True, False)


async def test_the_trouble_of_a_claim_reaches_the_kubelet_and_administrators_and_no_slice(node: Node) -> None:
    node.entries = (held("gpu-0"),)
    watch = node.watch.board.watch()
    node.watch.claim_troubled("gpu-0", "its MPS control daemon cannot be started again: no memory is left")
    troubled = {each.device: (each.health, each.message) for each in await anext(watch)}
    node.watch.claim_troubled("gpu-0", "")
    well = {each.device: each.health for each in await anext(watch)}
    await node.until(lambda: len(node.api.objects(EVENTS)) == 2)

    assert troubled["gpu-0"] == (
        "Unhealthy",
        "its MPS control daemon cannot be started again: no memory is left",
    )
    assert troubled["gpu-1"] == ("Healthy", "")
    assert well["gpu-0"] == "Healthy"
    assert sorted(each["reason"] for each in node.api.objects(EVENTS)) == ["ClaimRecovered", "ClaimUnhealthy"]
    assert len(node.pools) == 1, "others may still have the GPU"


class Moving(MemoryNvml):
    """An NVML that is read while a claim does something to the first GPU: the claims before it, and those after it."""

    entries: tuple[Entry, ...]
    after: tuple[Entry, ...]

    def read(self) -> NodeReading:
        found = super().read()
        self.entries = self.after
        return replace(found, gpus=(UnreadableGpu(0, "NVML: GPU is lost", lost=True), *found.gpus[1:]))


@pytest.mark.parametrize("driver", ["nvidia", "vfio-pci", None])
@pytest.mark.parametrize(
    ("before", "after", "busy"),
    [
        ((), (State.PREPARING,), False),
        ((), (State.PREPARED,), False),
        ((State.PREPARING,), (State.PREPARING,), True),
        ((State.PREPARED,), (State.RELEASING,), False),
        ((State.RELEASING,), (State.RELEASING,), True),
        ((State.RELEASING,), (), False),
        ((State.PREPARED,), (), False),
    ],
)
def test_a_gpu_that_a_claim_moves_while_nvml_is_read_is_neither_lost_nor_gone(
    tmp_path: Path, before: tuple[State, ...], after: tuple[State, ...], driver: str | None, *, busy: bool
) -> None:
    host = hgx_h100_host()
    known = discover(MemoryNvml([gpu_reading(0), gpu_reading(1)]), host)
    address = known.gpus[0].pci_bus_id
    link = PurePosixPath(f"/sys/bus/pci/devices/{address}/driver")
    host.links.pop(link, None)
    if driver is not None:
        host.links[link] = f"../../../bus/pci/drivers/{driver}"
    nvml = Moving([gpu_reading(0), gpu_reading(1)])
    nvml.entries = tuple(held("gpu-0").at(state) for state in before)
    nvml.after = tuple(held("gpu-0").at(state) for state in after)
    doors = cast("Doors", SimpleNamespace(nvml=nvml, host=host, fabric=None))
    ownership = Ownership(lambda: nvml.entries, lambda: [address] if busy else [])
    reader = NodeReader(doors, ownership, KnownGpus(tmp_path / "gpus.json", "b"), vgpus=False)

    assert reader.read(known).gpus == known.gpus


def test_a_gpu_that_nothing_is_done_to_is_marked_though_a_claim_waits_for_its_release(tmp_path: Path) -> None:
    host = hgx_h100_host()
    known = discover(MemoryNvml([gpu_reading(0), gpu_reading(1)]), host)
    nvml = Moving([gpu_reading(0), gpu_reading(1)])
    nvml.entries = nvml.after = (held("gpu-0").at(State.RELEASING), held("gpu-1", 1).at(State.PREPARED))
    doors = cast("Doors", SimpleNamespace(nvml=nvml, host=host, fabric=None))
    ownership = Ownership(lambda: nvml.entries)
    reader = NodeReader(doors, ownership, KnownGpus(tmp_path / "gpus.json", "b"), vgpus=False)

    assert [gpu.lost for gpu in reader.read(known).gpus] == [True, False]
