"""Consumable shares: what is published, which claims may share a device, and what refuses them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimwright.dra.claims import Claim
from claimwright.dra.quantities import Quantity
from claimwright.dra.slices import Capacity, Device, RequestPolicy, ValidRange, plan_slices
from claimwright.driver.entries import decode_entry, encode_entry
from claimwright.driver.errors import ClaimRefused
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.inventory import discover
from claimwright.driver.journal import Journal
from claimwright.driver.machine import Machine
from claimwright.driver.planning import Planner
from claimwright.driver.ports import MigReading
from claimwright.driver.publishing import pool_of
from claimwright.driver.repertoire import recipes
from claimwright.driver.shares import Shares
from claimwright.driver.steps import Probe, Step, Toolbox
from claimwright.driver.stock import Stock
from claimwright.driver.testing import (
    MemoryNvml,
    MemoryPartitions,
    allocated_gpus,
    gpu_reading,
    h100_profiles,
    hgx_h100_host,
)
from claimwright.driver.tools.mig_mode import MigModeTool
from claimwright.driver.tools.mig_partition import MigPartitionTool

GATES = FeatureGates.parse("AllAlpha=true")
GPU = gpu_reading(0).uuid
API = "resource.nvidia.com/v1beta1"
MEBIBYTE = 1 << 20


def stock(rule: str, *, memory_bytes: int | None = 85520809984, partitionable: bool = True) -> Stock:
    shares = Shares.parse(rule)
    assert shares is not None
    mig = MigReading(enabled=False, pending=False, profiles=h100_profiles()) if partitionable else None
    nvml = MemoryNvml([gpu_reading(0, mig=mig, memory_bytes=memory_bytes)])
    return Stock(recipes(GATES, shares), discover(nvml, hgx_h100_host()))


def policy(rule: str, name: str = "memory", **options: Any) -> RequestPolicy | None:
    capacity = stock(rule, partitionable=False, **options).offers["gpu-0"].device.capacity[name]
    assert isinstance(capacity, Capacity)
    return capacity.request_policy


def amount(text: str) -> Quantity:
    return Quantity.parse(text)


@pytest.mark.capability("004-05")
@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (
            "memory",
            RequestPolicy(amount("81558Mi"), (), ValidRange(amount("1Mi"), amount("81558Mi"), amount("1Mi"))),
        ),
        (
            "unlimited",
            RequestPolicy(amount("0"), (), ValidRange(amount("0"), amount("81558Mi"), amount("1Mi"))),
        ),
        ("4", RequestPolicy(amount("0"), (), ValidRange(amount("0"), amount("81558Mi"), amount("1Mi")))),
    ],
)
def test_memory_is_rounded_to_mebibytes_and_divided_by_the_rule(rule: str, expected: RequestPolicy) -> None:
    assert policy(rule, memory_bytes=81558 * MEBIBYTE + 77) == expected


@pytest.mark.parametrize("limit", [1, 2, 16])
def test_a_number_of_shares_is_a_capacity_of_which_each_claim_takes_one(limit: int) -> None:
    found = policy(str(limit), "shares")

    assert found is not None
    assert found.default == amount("1")


@pytest.mark.parametrize("rule", ["memory", "unlimited", "1", "2", "7"])
@pytest.mark.parametrize("partitionable", [False, True])
def test_every_shared_device_keeps_the_rules_of_the_api(rule: str, partitionable: bool) -> None:
    found = stock(rule, partitionable=partitionable)

    devices = [
        device
        for item in plan_slices("gpu.nvidia.com", pool_of("node-a", found), 1)
        for device in item["spec"].get("devices", ())
    ]

    assert devices
    assert all(device["allowMultipleAllocations"] for device in devices)


def test_without_the_option_nothing_is_shared() -> None:
    device = stock("disabled").offers["gpu-0"].device

    assert not device.allow_multiple_allocations
    assert not any(isinstance(value, Capacity) for value in device.capacity.values())


def test_engines_of_a_partition_do_not_stop_a_second_share() -> None:
    device: Device = stock("2").offers["gpu-0-mig-1g10gb-19-0"].device
    engines = device.capacity["multiprocessors"]

    assert isinstance(engines, Capacity)
    assert engines.request_policy is not None
    assert engines.request_policy.default == amount("0")


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", "", "²", "99999999999"])
def test_what_is_no_rule_is_none(text: str) -> None:
    assert Shares.parse(text) is None


def config(
    sharing: dict[str, Any] | None, requests: list[str] | None = None, kind: str = "GpuConfig"
) -> dict[str, Any]:
    block = {} if sharing is None else {"sharing": sharing}
    return {
        "source": "FromClaim",
        "requests": requests or [],
        "opaque": {
            "driver": "gpu.nvidia.com",
            "parameters": {"apiVersion": API, "kind": "GpuConfig", **block},
        },
    }


def slicing(interval: str | None = None) -> dict[str, Any]:
    block = {} if interval is None else {"timeSlicingConfig": {"interval": interval}}
    return {"strategy": "TimeSlicing", **block}


class Marks:
    """A tool that only remembers what is done."""

    visible = True
    recorded = False
    refreshes = False
    quick = True

    def __init__(self, name: str, done: list[str]) -> None:
        self.name, self._done = name, done

    def do(self, step: Step) -> None:
        self._done.append(str(step))

    def undo(self, step: Step) -> None:
        while str(step) in self._done:
            self._done.remove(str(step))

    def probe(self, step: Step) -> Probe:
        return Probe.DONE if str(step) in self._done else Probe.NOT_DONE


class Blind(Marks):
    """The same where hardware tells nothing."""

    visible = False
    recorded = True

    def probe(self, step: Step) -> Probe:
        return Probe.NOT_VISIBLE


class Node:
    """A node with one GPU whose steps leave marks; partitions are cut in memory."""

    def __init__(self, folder: Path, rule: str = "unlimited") -> None:
        self.partitions = MemoryPartitions({GPU: MigReading(enabled=False, pending=False)})
        self.done: list[str] = []
        self.planner = Planner("gpu.nvidia.com", "node-a", stock(rule), GATES)
        toolbox = Toolbox(
            Marks("claim-spec", self.done),
            Blind("time-slice", self.done),
            MigModeTool(self.partitions),
            MigPartitionTool(self.partitions),
        )
        self.machine = Machine(
            Journal.create(folder / "j", driver="gpu.nvidia.com", boot_id="b"), toolbox, {}
        )

    async def share(self, name: str, device: str = "gpu-0", *configs: dict[str, Any]) -> None:
        await self.machine.prepare(self.plan(name, [device], *configs))

    def plan(self, name: str, devices: list[str], *configs: dict[str, Any]) -> Any:
        item = allocated_gpus(name, devices, pool="node-a", config=configs)
        for number, result in enumerate(item["status"]["allocation"]["devices"]["results"]):
            result["shareID"] = f"share-{name}-{number}"
        item["metadata"]["uid"] = f"uid-{name}"
        return self.planner.plan(Claim.from_object(item))

    def slices(self) -> list[str]:
        return [text for text in self.done if text.startswith("time-slice")]


async def test_equal_configs_share_a_gpu_however_they_are_spelled(tmp_path: Path) -> None:
    node = Node(tmp_path)

    await node.share("a", "gpu-0", config(slicing()))
    await node.share("b", "gpu-0", config(slicing("Default")))

    assert len(node.machine.entries) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [(slicing("Long"), slicing("Short")), (slicing("Long"), None), (None, slicing())],
)
async def test_different_configs_on_one_gpu_are_refused_with_both_named(
    tmp_path: Path, one: dict[str, Any] | None, other: dict[str, Any] | None
) -> None:
    node = Node(tmp_path)
    await node.share("a", "gpu-0", config(one))

    with pytest.raises(
        ClaimRefused,
        match="requested device gpu-0 is already allocated to different claim uid-a with another config",
    ):
        await node.share("b", "gpu-0", config(other))


async def test_the_time_slice_of_a_shared_gpu_stays_until_the_last_claim_goes(tmp_path: Path) -> None:
    node = Node(tmp_path)
    for name in "ab":
        await node.share(name, "gpu-0", config(slicing("Long")))

    await node.machine.release("uid-a")
    after_one = node.slices()
    await node.machine.release("uid-b")

    assert len(after_one) == 1, "set once, and still set"
    assert node.done == []


async def test_a_partition_for_two_claims_is_cut_once_and_removed_by_the_last(tmp_path: Path) -> None:
    node = Node(tmp_path)
    device = "gpu-0-mig-1g10gb-19-3"

    def cut() -> int:
        reading = node.partitions.read(GPU)
        assert reading is not None
        return len(reading.partitions)

    seen = []
    for name in "ab":
        await node.share(name, device)
        seen.append(cut())
    for name in "ab":
        await node.machine.release(f"uid-{name}")
        seen.append(cut())

    assert seen == [1, 1, 1, 0]


async def test_a_share_of_the_gpu_excludes_its_partitions(tmp_path: Path) -> None:
    node = Node(tmp_path)
    await node.share("a", "gpu-0")

    with pytest.raises(ClaimRefused, match=r"already allocated to different claim uid-a$"):
        await node.share("b", "gpu-0-mig-1g10gb-19-3")


def test_two_shares_of_one_device_in_a_claim_have_cdi_names_of_their_own(tmp_path: Path) -> None:
    plan = Node(tmp_path).plan("a", ["gpu-0", "gpu-0"])

    assert len({held.cdi_ids for held in plan.devices}) == 2
    assert [held.share_id for held in plan.devices] == ["share-a-0", "share-a-1"]


def test_two_configs_for_one_device_in_a_claim_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ClaimRefused, match="shared by requests gpu-0 and gpu-1 with different configs"):
        Node(tmp_path).plan(
            "a", ["gpu-0", "gpu-0"], config(slicing("Long"), ["gpu-0"]), config(slicing("Short"), ["gpu-1"])
        )


def test_the_journal_keeps_the_config_of_a_share(tmp_path: Path) -> None:
    plan = Node(tmp_path).plan("a", ["gpu-0"], config(slicing("Long")))

    assert decode_entry(encode_entry(plan)).devices == plan.devices


Wish = tuple[int, str, int]
WISHES = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.sampled_from(["gpu-0", "gpu-0-mig-1g10gb-19-0", "gpu-0-mig-2g20gb-14-0", "gpu-0-mig-3g40gb-9-4"]),
        st.integers(0, 2),
    ),
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(wishes=WISHES)
def test_whatever_comes_and_goes_shares_agree_and_nothing_is_left(
    tmp_path_factory: pytest.TempPathFactory, wishes: list[Wish]
) -> None:
    node = Node(tmp_path_factory.mktemp("node"))
    asyncio.run(_live(node, wishes))

    reading = node.partitions.read(GPU)
    assert reading is not None
    assert (reading.enabled, reading.partitions, node.done) == (False, (), [])


async def _live(node: Node, wishes: list[Wish]) -> None:
    for number, device, interval in wishes:
        uid = f"uid-{number}"
        if node.machine.entry(uid) is not None:
            await node.machine.release(uid)
            continue
        sharing = (None, slicing("Long"), slicing("Short"))[interval] if device == "gpu-0" else None
        try:
            await node.share(str(number), device, config(sharing))
        except ClaimRefused:
            assert node.machine.entry(uid) is None
        _agree(node)
    for entry in node.machine.entries:
        await node.machine.release(entry.uid)


def _agree(node: Node) -> None:
    held = [device for entry in node.machine.entries for device in entry.devices]
    for one in held:
        for other in held:
            if one.device == other.device:
                assert one.config == other.config
            else:
                assert one.parts, "a whole GPU beside parts of it"
                assert one.parts.isdisjoint(other.parts)
