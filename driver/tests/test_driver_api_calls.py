"""What the driver asks of the API server, counted exactly: the whole plugin in this process, on a node in memory."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claimwright.dra.claims import ClaimReference, reference_of
from claimwright.dra.kube import NODES, RESOURCE_CLAIMS, RESOURCE_SLICES
from claimwright.dra.kubelet import PluginClient, register
from claimwright.dra.plugin import publisher, registration_socket
from claimwright.dra.testing import FakeApi
from claimwright.driver.gpu_plugin import gpu_plugin
from claimwright.driver.ports import GpuEvent, NodeReading
from claimwright.driver.sweeping import INTERVAL_SECONDS
from claimwright.driver.testing import HandClock, wait_until
from claimwright.driver.testing.claims import allocated_gpus
from claimwright.driver.testing.events import MemoryEvents
from claimwright.driver.testing.memory_node import NODE, MemoryNode
from claimwright.driver.testing.nvml import gpu_reading

GATES = "DynamicMIG=true,PassthroughSupport=true,VGPUSupport=true,TimeSlicingSettings=true,MPSSupport=true"
LONG = {
    "apiVersion": "resource.nvidia.com/v1beta1",
    "kind": "GpuConfig",
    "sharing": {"strategy": "TimeSlicing", "timeSlicingConfig": {"interval": "Long"}},
}
DEVICES: Mapping[str, tuple[str, Any]] = {
    "full": ("gpu-3", None),
    "time slice": ("gpu-3", LONG),
    "static MIG": ("gpu-2-mig-3g40gb-9-4", None),
    "dynamic MIG": ("gpu-0-mig-1g10gb-19-0", None),
    "passthrough": ("gpu-vfio-3", None),
}
SLICES = "/apis/resource.k8s.io/v1/resourceslices"
HOUR = 3600.0


class Reads:
    """NVML that counts how often it is read."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self.count = 0

    def read(self) -> NodeReading:
        self.count += 1
        found: NodeReading = self._nvml.read()
        return found


class Served:
    """The plugin, ourselves as its kubelet, and what was asked of the API server since the last look."""

    def __init__(self, node: MemoryNode, client: PluginClient, reads: Reads) -> None:
        self.node, self.client, self.reads = node, client, reads
        self.clock = node.doors.clock
        self._seen = 0
        self.look()

    def look(self) -> list[tuple[str, str]]:
        now = list(self.node.api.requests)
        new, self._seen = now[self._seen :], len(now)
        return new

    def claim(self, name: str, device: str, config: Mapping[str, Any] | None = None) -> ClaimReference:
        given = [{"source": "FromClaim", "opaque": {"driver": "gpu.nvidia.com", "parameters": config}}]
        item = allocated_gpus(name, [device], pool=NODE, config=given if config else ())
        return reference_of(self.node.api.put(RESOURCE_CLAIMS, item))

    async def prepared(self, *claims: ClaimReference) -> None:
        answers = await self.client.prepare(claims)
        assert not [answer for answer in answers.values() if isinstance(answer, str)], answers

    async def released(self, *claims: ClaimReference) -> None:
        assert not any((await self.client.release(claims)).values())

    async def pass_time(self, seconds: float) -> None:
        """Let so much time pass for the driver, in which it reads its node as often as it does."""
        assert isinstance(self.clock, HandClock)
        for _ in range(int(seconds / 30)):
            before = self.reads.count
            self.clock.advance(30.0)
            await wait_until(lambda before=before: self.reads.count > before and self.clock.sleepers >= 2)


def reading(claim: ClaimReference) -> tuple[str, str]:
    return "GET", f"/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/{claim.name}"


@pytest.fixture
def folder() -> Iterator[Path]:
    short = Path(tempfile.mkdtemp(prefix="cwa"))  # paths of sockets are short
    yield short
    shutil.rmtree(short)


@asynccontextmanager
async def serving(folder: Path, gates: str = GATES) -> AsyncIterator[Served]:
    with FakeApi() as api:
        api.put(NODES, {"metadata": {"name": NODE}})
        node = MemoryNode(folder, api, gates=gates)
        reads = Reads(node.doors.nvml)
        doors = replace(node.doors, nvml=reads)
        node.settings.registry_dir.mkdir(parents=True)
        async with gpu_plugin(node.settings, doors, lambda error: pytest.fail(str(error))) as plugin:
            await plugin.publisher.published()
            await wait_until(lambda: any("watch=true" in path for _, path in api.requests))
            client = PluginClient(plugin.endpoint)
            yield Served(node, client, reads)
            await client.close()


@pytest.mark.parametrize("kind", list(DEVICES))
async def test_a_prepare_reads_its_claim_once_and_a_repeated_one_and_a_release_read_nothing(
    folder: Path, kind: str
) -> None:
    async with serving(folder) as served:
        claim = served.claim("a", *DEVICES[kind])

        await served.prepared(claim)
        first = served.look()
        await served.prepared(claim)
        again = served.look()
        await served.released(claim)
        await served.released(claim)

        assert first == [reading(claim)]
        assert (again, served.look()) == ([], [])


async def test_claims_that_come_together_are_read_once_each(folder: Path) -> None:
    async with serving(folder) as served:
        claims = [
            served.claim(name.replace(" ", "-").lower(), device)
            for name, (device, config) in DEVICES.items()
            if config is None and name != "passthrough"
        ]
        await served.prepared(claims[0])
        served.look()

        await served.prepared(*claims)

        assert sorted(served.look()) == sorted(map(reading, claims[1:]))


async def test_a_claim_that_failed_or_was_released_is_read_again(folder: Path) -> None:
    async with serving(folder) as served:
        claim, lost = served.claim("a", "gpu-3"), served.claim("lost", "gpu-77")
        for _ in range(2):
            await served.prepared(claim)
            await served.released(claim)
            await served.client.prepare([lost])

        assert served.look() == [reading(claim), reading(lost)] * 2


async def test_with_metadata_a_repeated_prepare_reads_its_claim_for_the_files(folder: Path) -> None:
    async with serving(folder, f"{GATES},DeviceMetadata=true") as served:
        claim = served.claim("a", "gpu-3")

        await served.prepared(claim)
        await served.prepared(claim)

        assert served.look() == [reading(claim)] * 2


async def test_a_prepare_needs_no_api_server_for_what_is_prepared(folder: Path) -> None:
    async with serving(folder) as served:
        claim = served.claim("a", "gpu-3")
        await served.prepared(claim)
        served.node.api.fail("*", "", 503, times=None)

        await served.prepared(claim)


async def test_an_hour_in_which_nothing_happens_costs_the_renewals_of_one_watch(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "_CHECK_SECONDS", 0.02)  # once a minute, many times
    async with serving(folder, f"{GATES},NVMLDeviceHealthCheck=true") as served:
        claims = [
            served.claim(name.replace(" ", "-").lower(), *DEVICES[name]) for name in ("full", "dynamic MIG")
        ]
        await served.prepared(*claims)
        served.look()
        reads = served.reads.count

        await served.pass_time(HOUR)

        assert served.reads.count - reads >= HOUR / 30, "the node itself is looked at all the time"
        assert HOUR > 2 * INTERVAL_SECONDS
        assert served.look() == []


async def test_a_watch_that_the_server_ends_is_renewed_with_one_request(folder: Path) -> None:
    async with serving(folder) as served:
        for ended in range(1, 13):
            await wait_until(lambda: served.node.api.watches)
            served.node.api.drop_watches()
            await wait_until(lambda ended=ended: len(served.node.api.requests) - served._seen >= ended)

        new = served.look()
        assert len(new) == 12
        assert all(path.startswith(f"{SLICES}?watch=true") for _, path in new), new


async def test_a_kubelet_that_was_restarted_has_each_claim_asked_for_once(folder: Path) -> None:
    async with serving(folder) as served:
        claims = [served.claim("a", "gpu-3"), served.claim("b", "gpu-0-mig-1g10gb-19-0")]
        socket = registration_socket(served.node.settings.registry_dir, "gpu.nvidia.com", None)
        await register(socket)
        await served.prepared(*claims)
        served.look()

        await register(socket)
        await wait_until(lambda: len(served.node.api.requests) - served._seen >= len(claims))

        assert sorted(served.look()) == sorted(map(reading, claims))


async def test_a_claim_that_a_forgetful_kubelet_left_behind_is_released_when_it_comes_back(
    folder: Path,
) -> None:
    async with serving(folder) as served:
        claim = served.claim("a", "gpu-3")
        socket = registration_socket(served.node.settings.registry_dir, "gpu.nvidia.com", None)
        await register(socket)
        await served.prepared(claim)
        served.node.api.remove(RESOURCE_CLAIMS, "a", namespace="default")

        await register(socket)

        await wait_until(lambda: not list(served.node.cdi.iterdir()))


async def test_an_ailing_gpu_costs_one_write_of_each_slice_and_one_event(folder: Path) -> None:
    async with serving(folder, f"{GATES},NVMLDeviceHealthCheck=true") as served:
        events = served.node.doors.events
        assert isinstance(events, MemoryEvents)
        names = {item["metadata"]["name"] for item in served.node.api.objects(RESOURCE_SLICES)}
        await wait_until(lambda: events.watches)

        events.put(GpuEvent(gpu_reading(3).uuid, 79))
        await wait_until(
            lambda: any("taints" in str(each) for each in served.node.api.objects(RESOURCE_SLICES))
        )
        await served.pass_time(600)

        new = served.look()
        puts = [path for verb, path in new if verb == "PUT"]
        told = [path for verb, path in new if verb == "POST"]
        assert len(puts) == len(set(puts)) <= len(names)
        assert all(path.rpartition("/")[2] in names for path in puts)
        assert len(told) == 1
        assert "/events" in told[0]
        assert len(new) == len(puts) + len(told), new
