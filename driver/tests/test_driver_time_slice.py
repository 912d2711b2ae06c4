"""Settings made by nvidia-smi: what was not applied is not taken back, and what cannot be is not tried for ever."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from claimwright.dra.testing import FakeApi
from claimwright.driver.errors import StepFailed
from claimwright.driver.ports import Finished
from claimwright.driver.testing import GpuPrograms
from claimwright.driver.testing.memory_node import MemoryNode

API = "resource.nvidia.com/v1beta1"
LONG = {
    "apiVersion": API,
    "kind": "GpuConfig",
    "sharing": {"strategy": "TimeSlicing", "timeSlicingConfig": {"interval": "Long"}},
}
MPS = {"apiVersion": API, "kind": "GpuConfig", "sharing": {"strategy": "MPS"}}
MIG = {"apiVersion": API, "kind": "MigDeviceConfig", "sharing": {"strategy": "TimeSlicing"}}
SMI = "nvidia-smi"
NOT_SUPPORTED = Finished(3, "Setting time slice is not supported for GPU 00000000:1B:00.0.")
LOST = Finished(15, "Unable to determine the device handle for GPU 00000000:1B:00.0: GPU is lost.")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[MemoryNode]:
    with FakeApi() as api, closing(MemoryNode(tmp_path, api)) as node:
        yield node


def programs(node: MemoryNode) -> GpuPrograms:
    found = node.doors.processes
    assert isinstance(found, GpuPrograms)
    return found


async def prepare(node: MemoryNode, device: str, config: Mapping[str, Any] | None) -> Any:
    started = await node.start()
    await started.machine.prepare(started.planner.plan(node.claim("a", device, config)))
    return started.machine


async def test_a_gpu_without_time_slices_says_so_and_is_free_again(node: MemoryNode) -> None:
    programs(node).answers[SMI] = NOT_SUPPORTED
    started = await node.start()

    with pytest.raises(StepFailed, match="status 3: Setting time slice is not supported"):
        await started.machine.prepare(started.planner.plan(node.claim("a", "gpu-3", LONG)))

    assert started.machine.entries == ()
    await started.machine.prepare(started.planner.plan(node.claim("b", "gpu-3")))


@pytest.mark.parametrize("config", [LONG, MPS], ids=["time-slicing", "MPS"])
async def test_a_claim_of_a_gpu_that_is_lost_can_be_released(
    node: MemoryNode, config: Mapping[str, Any]
) -> None:
    machine = await prepare(node, "gpu-3", config)
    programs(node).answers[SMI] = LOST

    for entry in machine.entries:
        await machine.release(entry.uid)

    assert machine.entries == ()
    assert not node.settings.mps_dir.exists()


async def test_a_gpu_that_is_lost_is_not_prepared(node: MemoryNode) -> None:
    programs(node).answers[SMI] = LOST

    with pytest.raises(StepFailed, match="GPU is lost"):
        await prepare(node, "gpu-3", LONG)


@pytest.mark.parametrize(
    ("device", "config"),
    [("gpu-3", None), ("gpu-3", {"apiVersion": API, "kind": "GpuConfig"}), ("gpu-2-mig-3g40gb-9-4", MIG)],
    ids=["no config", "no sharing block", "a partition"],
)
async def test_what_was_never_applied_is_never_taken_back(
    node: MemoryNode, device: str, config: Mapping[str, Any] | None
) -> None:
    uuid = node.claim("a", device).uid
    machine = await prepare(node, device, config)

    await machine.release(uuid)

    assert [command for command in programs(node).commands if command[0] == SMI] == []
