"""What is remembered after a crash, a reboot or a corrupt journal; what the sweep removes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from claimwright.dra.claims import Claim
from claimwright.dra.kube import EVENTS, RESOURCE_CLAIMS
from claimwright.dra.testing import FakeApi
from claimwright.driver.adapters import WallClock
from claimwright.driver.driver_root import DeviceRoot, DriverRoot
from claimwright.driver.edits import Installation
from claimwright.driver.entries import Entry, State
from claimwright.driver.errors import ClaimRefused
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.inventory import discover
from claimwright.driver.journal import Journal
from claimwright.driver.machine import Machine
from claimwright.driver.planning import Planner
from claimwright.driver.ports import Finished
from claimwright.driver.repertoire import edits, recipes
from claimwright.driver.restoring import Remembered, Restorer, report_corruption
from claimwright.driver.steps import Toolbox
from claimwright.driver.stock import Stock
from claimwright.driver.sweeping import Sweeper
from claimwright.driver.testing import (
    HandClock,
    MemoryPartitions,
    ScriptedProcesses,
    allocated_gpus,
    hgx_h100_host,
    hgx_h100_nvml,
    wait_until,
)
from claimwright.driver.tools.claim_spec import ClaimSpecTool
from claimwright.driver.tools.nvidia_smi import NvidiaSmi
from claimwright.driver.tools.time_slice import TimeSliceTool

LONG = {
    "source": "FromClaim",
    "opaque": {
        "driver": "gpu.nvidia.com",
        "parameters": {
            "apiVersion": "resource.nvidia.com/v1beta1",
            "kind": "GpuConfig",
            "sharing": {"strategy": "TimeSlicing", "timeSlicingConfig": {"interval": "Long"}},
        },
    },
}


class Node:
    """One node's folders and doors, and an API server in memory."""

    def __init__(self, folder: Path, api: FakeApi) -> None:
        self.api, self.kube = api, api.kube()
        self.journal, self.cdi = folder / "claims.journal", folder / "cdi"
        self.host, self.processes = hgx_h100_host(), ScriptedProcesses()
        root = folder / "root"
        for path in ("usr/lib64/libnvidia-ml.so.1", "usr/bin/nvidia-smi"):
            (root / path).parent.mkdir(parents=True)
            (root / path).touch()
        self.root = DriverRoot(root, PurePosixPath(root))
        self.cdi.mkdir()
        gates = FeatureGates.parse("TimeSlicingSettings=true,MPSSupport=true")
        stock = Stock(recipes(gates), discover(hgx_h100_nvml(), self.host))
        self.planner = Planner("gpu.nvidia.com", "node-a", stock, gates)

    async def remember(self, boot_id: str = "boot-1") -> Remembered:
        return await Restorer(
            self.journal, self.cdi, boot_id, self.planner, self.kube, WallClock()
        ).remember()

    async def start(self, boot_id: str = "boot-1") -> Machine:
        entries = (await self.remember(boot_id)).entries
        journal = Journal.create(
            self.journal, driver="gpu.nvidia.com", boot_id=boot_id, entries=tuple(entries.values())
        )
        devices = DeviceRoot(self.host, PurePosixPath("/"))
        installation = Installation(self.root, devices, self.host, "580.126.20")
        toolbox = Toolbox(
            ClaimSpecTool(self.cdi, edits(installation, MemoryPartitions(), WallClock(), self.cdi)),
            TimeSliceTool(NvidiaSmi(self.root, self.processes)),
        )
        machine = Machine(journal, toolbox, entries)
        await machine.recover()
        self.sweeper(machine).remove_orphans()
        return machine

    def sweeper(self, machine: Machine) -> Sweeper:
        return Sweeper(machine, self.kube, self.cdi, WallClock())

    def plan(self, name: str, *devices: str, config: list[dict[str, object]] | None = None) -> Entry:
        item = self.api.put(
            RESOURCE_CLAIMS, allocated_gpus(name, devices, pool="node-a", config=config or ())
        )
        return self.planner.plan(Claim.from_object(item))

    @property
    def specs(self) -> list[str]:
        return sorted(path.name for path in self.cdi.iterdir())


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with FakeApi() as api:
        yield Node(tmp_path, api)


async def started_over(node: Node, machine: Machine, boot_id: str = "boot-1") -> Machine:
    await machine.stop(timeout_seconds=5)
    return await node.start(boot_id)


async def test_prepared_claims_are_remembered_within_a_boot(node: Node) -> None:
    machine = await node.start()
    entry = await machine.prepare(node.plan("a", "gpu-0", "gpu-1"))

    machine = await started_over(node, machine)

    assert machine.entries == (entry,)


async def test_after_a_reboot_nothing_is_prepared_and_old_specs_are_gone(node: Node) -> None:
    machine = await node.start()
    await machine.prepare(node.plan("a", "gpu-0"))

    machine = await started_over(node, machine, "boot-2")

    assert machine.entries == ()
    assert node.specs == []


@pytest.mark.parametrize("damage", ["corrupt", "missing"])
async def test_without_a_journal_the_state_is_rebuilt_from_specs_and_claims(node: Node, damage: str) -> None:
    machine = await node.start()
    kept = await machine.prepare(node.plan("kept", "gpu-0"))
    gone = await machine.prepare(node.plan("gone", "gpu-1"))
    await machine.stop(timeout_seconds=5)
    if damage == "corrupt":
        node.journal.write_bytes(b"\x00" * 10 + node.journal.read_bytes())
    else:
        node.journal.unlink()
    node.api.remove(RESOURCE_CLAIMS, "gone", namespace="default")

    machine = await node.start()

    assert [(entry.uid, entry.state) for entry in machine.entries] == [(kept.uid, State.PREPARED)]
    assert machine.entries[0].devices == kept.devices
    assert not any(gone.uid in name for name in node.specs)
    with pytest.raises(ClaimRefused, match="already allocated"):
        await machine.prepare(node.plan("other", "gpu-0"))


async def test_a_corrupt_journal_is_kept_and_told_by_an_event(node: Node) -> None:
    node.journal.write_text("rubbish\nmore rubbish\n")

    remembered = await node.remember()
    assert remembered.problem is not None
    report_corruption(node.kube, "gpu.nvidia.com", "node-a", remembered.problem, 1_700_000_000.5)

    (kept,) = node.journal.parent.glob("claims.journal.corrupt-*")
    (event,) = node.kube.list(EVENTS)["items"]
    assert kept.read_text().startswith("rubbish")
    assert (event["reason"], event["type"]) == ("CheckpointCorrupted", "Warning")
    assert str(kept) in event["note"]
    assert event["regarding"]["name"] == "node-a"


async def test_a_silent_api_server_does_not_stop_the_event(node: Node) -> None:
    node.api.fail("*", "", 503, times=None)

    report_corruption(node.kube, "gpu.nvidia.com", "node-a", "it is broken", 0.0)


async def test_the_rebuild_waits_for_the_api_server(node: Node) -> None:
    machine = await node.start()
    await machine.prepare(node.plan("a", "gpu-0"))
    await machine.stop(timeout_seconds=5)
    node.journal.unlink()
    node.api.fail("*", "", 503, times=None)
    clock = HandClock()
    restorer = Restorer(node.journal, node.cdi, "boot-1", node.planner, node.kube, clock)
    waiting = asyncio.ensure_future(restorer.remember())
    await wait_until(lambda: clock.sleepers)
    node.api.faults.clear()
    clock.advance(5)

    assert len((await waiting).entries) == 1


@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced by another uid"])
async def test_a_claim_that_is_gone_is_released_by_the_sweep(node: Node, replaced: bool) -> None:
    machine = await node.start()
    await machine.prepare(node.plan("a", "gpu-0"))
    await machine.prepare(node.plan("b", "gpu-1"))
    node.api.remove(RESOURCE_CLAIMS, "a", namespace="default")
    if replaced:
        node.api.put(RESOURCE_CLAIMS, allocated_gpus("a", ["gpu-5"], pool="node-a"))

    await node.sweeper(machine).sweep()

    assert [entry.claim.name for entry in machine.entries] == ["b"]
    assert len(node.specs) == 1


async def test_an_api_server_that_does_not_answer_releases_nothing(node: Node) -> None:
    machine = await node.start()
    await machine.prepare(node.plan("a", "gpu-0"))
    node.api.remove(RESOURCE_CLAIMS, "a", namespace="default")
    node.api.fail("*", "", 503, times=None)

    await node.sweeper(machine).sweep()

    assert len(machine.entries) == 1


async def test_the_sweep_removes_specs_of_unknown_claims_and_leaves_those_of_others(node: Node) -> None:
    machine = await node.start()
    for name in ("k8s.gpu.nvidia.com-claim_lost.yaml", "k8s.other.example.com-claim_x.yaml", "static.json"):
        (node.cdi / name).touch()

    await node.sweeper(machine).sweep()

    assert node.specs == ["k8s.other.example.com-claim_x.yaml", "static.json"]


async def test_time_slices_are_set_and_only_set_ones_are_reset(node: Node) -> None:
    machine = await node.start()
    plain = await machine.prepare(node.plan("plain", "gpu-0"))
    sliced = await machine.prepare(node.plan("sliced", "gpu-1", config=[LONG]))
    uuid = "GPU-00000000-0000-4000-8000-000000000001"
    done = list(node.processes.commands)
    await machine.release(plain.uid)
    await machine.release(sliced.uid)

    assert done == [
        ("nvidia-smi", "-i", uuid, "-c", "DEFAULT"),
        ("nvidia-smi", "compute-policy", "-i", uuid, "--set-timeslice", "3"),
    ]
    assert node.processes.commands[2:] == [
        ("nvidia-smi", "-i", uuid, "-c", "DEFAULT"),
        ("nvidia-smi", "compute-policy", "-i", uuid, "--set-timeslice", "0"),
    ]


async def test_a_time_slice_set_before_the_journal_was_lost_is_reset_at_release(node: Node) -> None:
    machine = await node.start()
    sliced = await machine.prepare(node.plan("sliced", "gpu-1", config=[LONG]))
    await machine.stop(timeout_seconds=5)
    node.journal.unlink()
    machine = await node.start()
    node.processes.commands.clear()

    await machine.release(sliced.uid)

    assert node.processes.commands[-1][-2:] == ("--set-timeslice", "0")


async def test_what_nvidia_smi_says_reaches_the_claim(node: Node) -> None:
    machine = await node.start()
    node.processes.answers["nvidia-smi"] = Finished(6, "Insufficient Permissions\n")

    with pytest.raises(Exception, match="ended with status 6: Insufficient Permissions"):
        await machine.prepare(node.plan("sliced", "gpu-1", config=[LONG]))

    assert node.specs == []


@pytest.mark.parametrize(
    ("device", "changes", "says"),
    [
        ("gpu-9", {}, "allocatable not found for device 'gpu-9'.*this node has 8 others, such as gpu-"),
        ("../../x", {}, "allocatable not found for device"),
        ("gpu-0", {"pool": "node-b"}, "pool 'node-b', but this node's pool is 'node-a'"),
        ("gpu-0", {"driver": "other.example.com"}, "no device of driver gpu.nvidia.com"),
    ],
)
def test_a_claim_for_what_is_not_here_is_refused(
    node: Node, device: str, changes: dict[str, str], says: str
) -> None:
    result = {"request": "r", "driver": "gpu.nvidia.com", "pool": "node-a", "device": device, **changes}
    claim = {
        "metadata": {"namespace": "d", "name": "c", "uid": "u"},
        "status": {"allocation": {"devices": {"results": [result]}}},
    }

    with pytest.raises(ClaimRefused, match=says):
        node.planner.plan(Claim.from_object(claim))


def test_a_uid_that_is_a_path_is_refused(node: Node) -> None:
    item = node.api.put(RESOURCE_CLAIMS, allocated_gpus("evil", ["gpu-0"], pool="node-a"))
    item["metadata"]["uid"] = "../../../etc/passwd"

    with pytest.raises(ClaimRefused, match="claim uid"):
        node.planner.plan(Claim.from_object(item))
