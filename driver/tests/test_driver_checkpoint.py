"""A node changes from the community driver to this one while pods run: its checkpoint file is taken over."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claimwright.dra.claims import Claim
from claimwright.dra.kube import DEPLOYMENTS, RESOURCE_CLAIMS, RESOURCE_SLICES
from claimwright.dra.testing import FakeApi
from claimwright.driver.checkpoints import CorruptCheckpoint, checksum, read_checkpoint
from claimwright.driver.entries import State
from claimwright.driver.ports import Placement
from claimwright.driver.testing import gpu_reading
from claimwright.driver.testing.checkpoints import checkpoint, completed, device, group, started
from claimwright.driver.testing.memory_node import BOOT, NODE, MemoryNode, Started

PARTITION = "gpu-0-mig-1g10gb-19-2"
GPU = gpu_reading(0).uuid
LONG = {
    "apiVersion": "resource.nvidia.com/v1beta1",
    "kind": "GpuConfig",
    "sharing": {"strategy": "TimeSlicing", "timeSlicingConfig": {"interval": "Long"}},
}
Json = dict[str, Any]


class Migrating(MemoryNode):
    """A node on which the community driver prepared claims."""

    def __init__(self, folder: Path, api: FakeApi, gates: str = "AllAlpha=true") -> None:
        super().__init__(folder, api, gates=gates)
        self.file = self.settings.plugin_dir / "checkpoint.json"
        self.entries: dict[str, Json] = {}

    def held(
        self,
        name: str,
        named: str,
        *,
        spec: bool = True,
        parameters: Json | None = None,
        in_api: bool = True,
        **setting: object,
    ) -> Claim:
        """Have a claim prepared: in the API server, in the CDI folder and in the checkpoint."""
        claim = self.claim(name, named, parameters)
        if in_api:
            self.api.put(RESOURCE_CLAIMS, dict(claim.raw))
        if spec:
            self.spec(claim).write_text("kind: k8s.gpu.nvidia.com/claim\n")
        mig = "-mig-" in named
        about: Json = {"parentMinor": 0, "giId": 7, "ciId": 0, "migUUID": "MIG-1", "parentUUID": GPU}
        given = device(named, f"k8s.gpu.nvidia.com/claim={claim.uid}-{named}", pool=NODE)
        info = about if mig else {"uuid": gpu_reading(int(named[4])).uuid if named[4].isdecimal() else ""}
        self.entries[claim.uid] = completed(
            claim.raw["status"], group("mig" if mig else "gpu", info, given, **setting)
        )
        return claim

    def begun(self, name: str, named: str) -> Claim:
        """Have a claim whose preparation failed or was cut off."""
        claim = self.claim(name, named)
        self.api.put(RESOURCE_CLAIMS, dict(claim.raw))
        self.entries[claim.uid] = started(claim.raw["status"], name)
        return claim

    def spec(self, claim: Claim) -> Path:
        return self.cdi / f"k8s.gpu.nvidia.com-claim_{claim.uid}.yaml"

    def cut(self, start: int) -> None:
        """Have the community driver make a partition."""
        self.doors.partitions.switch(GPU, enabled=True)
        self.doors.partitions.create(GPU, 19, Placement(start, 1))

    def partitions(self) -> list[int]:
        mig = self.doors.partitions.read(GPU)
        assert mig is not None
        return [each.placement.start for each in mig.partitions]

    async def takes_over(self, *, version: int = 2, boot_id: str = BOOT) -> Started:
        self.file.write_bytes(checkpoint(self.entries, boot_id=boot_id, version=version))
        return await self.life()

    async def life(self) -> Started:
        """Start as the driver starts."""
        found = await self.start()
        await found.machine.recover()
        self.sweep(found)
        return found


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Migrating]:
    with FakeApi() as api:
        yield Migrating(tmp_path, api)


def test_the_sum_is_that_of_kubernetes_checkpoint_manager() -> None:
    assert checksum(b'{"checksum":0}') == 4166374854


@pytest.mark.parametrize("version", [1, 2])
async def test_a_running_pods_claim_keeps_its_devices_and_is_released_by_us(
    node: Migrating, version: int
) -> None:
    claim = node.held("a", "gpu-3")
    found = await node.takes_over(version=version)
    entry = found.machine.entry(claim.uid)
    assert entry is not None
    ours = f"k8s.gpu.nvidia.com/claim={claim.uid}-gpu-3"

    assert (entry.state, entry.claim.name) == (State.PREPARED, "a")
    assert [held.cdi_ids for held in entry.devices] == [(ours,)]
    assert await found.machine.prepare(found.planner.plan(claim)) == entry
    assert node.spec(claim).read_text().startswith("kind")

    await found.machine.release(claim.uid)
    assert not node.spec(claim).exists()


async def test_a_taken_over_device_is_refused_to_another_claim(node: Migrating) -> None:
    node.held("a", "gpu-3")
    found = await node.takes_over()

    with pytest.raises(Exception, match="already allocated to different claim"):
        await found.machine.prepare(found.planner.plan(node.claim("b", "gpu-3")))


@pytest.mark.parametrize("spelled", [{}, {"mpsControlDaemonID": ""}], ids=["left out", "always written"])
async def test_both_spellings_of_an_unused_mps_id_have_right_sums(node: Migrating, spelled: Json) -> None:
    claim = node.held("a", "gpu-3", **spelled)

    found = await node.takes_over()

    assert found.machine.entry(claim.uid) is not None


@pytest.mark.parametrize("at", ['{"checksum":', '"v2":{"checksum":'])
async def test_a_file_with_a_wrong_sum_is_kept_aside_and_the_claims_are_found_by_their_specs(
    node: Migrating, at: str
) -> None:
    claim, lost = node.held("a", "gpu-3"), node.held("b", "gpu-1", spec=False)
    text = checkpoint(node.entries).decode()
    node.file.write_text(text.replace(at, f"{at}9", 1))

    found = await node.start()

    (kept,) = node.file.parent.glob("checkpoint.json.corrupt-*")
    assert kept.read_text() == text.replace(at, f"{at}9", 1)
    assert found.machine.entry(claim.uid) is not None
    assert found.machine.entry(lost.uid) is None
    assert "the stored bytes have" in (found.problem or "")


async def test_a_partition_of_the_community_driver_goes_with_its_claim(node: Migrating) -> None:
    node.cut(2)
    claim = node.held("a", PARTITION)
    found = await node.takes_over()
    assert node.partitions() == [2]

    await found.machine.release(claim.uid)

    mig = node.doors.partitions.read(GPU)
    assert mig is not None
    assert (mig.enabled, mig.partitions) == (False, ())


@pytest.mark.parametrize("gates", ["AllAlpha=true", ""])
async def test_a_partition_that_an_administrator_made_stays(tmp_path: Path, gates: str) -> None:
    with FakeApi() as api:
        node = Migrating(tmp_path, api, gates)
        node.cut(2)
        attributes = {"type": {"string": "mig"}, "uuid": {"string": "MIG-1"}}
        spec = {"driver": "gpu.nvidia.com", "nodeName": NODE, "pool": {"name": NODE}}
        published = {**spec, "devices": [{"name": PARTITION, "attributes": attributes}]}
        api.put(RESOURCE_SLICES, {"metadata": {"name": "s"}, "spec": published})
        claim = node.held("a", PARTITION)
        found = await node.takes_over()

        await found.machine.release(claim.uid)

        assert node.partitions() == [2]


@pytest.mark.parametrize(
    ("setting", "parameters", "resets"),
    [
        ({"timeSliceApplied": True}, LONG, True),
        ({"timeSliceApplied": True}, None, True),
        ({"timeSliceApplied": False}, LONG, False),
        ({}, LONG, True),
        ({}, None, False),
    ],
    ids=[
        "applied",
        "applied, config gone",
        "not applied",
        "not told but asked for",
        "not told, not asked for",
    ],
)
async def test_a_time_slice_is_reset_when_the_community_driver_set_it(
    node: Migrating, setting: Json, parameters: Json | None, resets: bool
) -> None:
    claim = node.held("a", "gpu-3", parameters=parameters, **setting)
    slices = node.time_slices
    slices[gpu_reading(3).uuid] = 3
    found = await node.takes_over()

    await found.machine.release(claim.uid)

    assert (gpu_reading(3).uuid not in slices) is resets


async def test_a_claim_that_was_begun_is_rolled_back_and_others_are_not(node: Migrating) -> None:
    node.cut(2)
    node.cut(3)
    kept, half = node.held("a", PARTITION), node.begun("b", "gpu-0-mig-1g10gb-19-3")

    found = await node.takes_over()

    assert [entry.uid for entry in found.machine.entries] == [kept.uid]
    assert found.machine.entry(half.uid) is None
    assert node.partitions() == [2]


async def test_a_begun_claim_without_a_trace_is_forgotten(node: Migrating) -> None:
    node.begun("b", "gpu-0-mig-1g10gb-19-3")

    assert (await node.takes_over()).machine.entries == ()


async def test_claims_of_another_boot_are_over(node: Migrating) -> None:
    node.held("a", "gpu-3")

    found = await node.takes_over(boot_id="another")

    assert found.machine.entries == ()


async def test_a_claim_that_is_gone_from_the_cluster_is_released_at_once(node: Migrating) -> None:
    node.cut(2)
    claim = node.held("a", PARTITION, in_api=False)

    found = await node.takes_over()

    assert found.machine.entries == ()
    assert node.partitions() == []
    assert not node.spec(claim).exists()


async def test_a_device_that_this_driver_does_not_offer_is_held_as_the_file_tells(node: Migrating) -> None:
    claim = node.held("a", "gpu-3")
    item = node.entries[claim.uid]
    for place in (
        item["status"]["allocation"]["devices"]["results"][0],
        item["preparedDevices"][0]["devices"][0]["gpu"]["device"],
    ):
        place["device" if "device" in place else "DeviceName"] = "gpu-77"

    entry = (await node.takes_over()).machine.entry(claim.uid)

    assert entry is not None
    assert [(held.device, held.hardware) for held in entry.devices] == [("gpu-77", "0000:61:00.0")]


async def test_the_community_drivers_mps_daemon_ends_with_its_claim(node: Migrating) -> None:
    daemon = f"{node.claim('a', 'gpu-3').uid}-0a1b2"
    claim = node.held("a", "gpu-3", mpsControlDaemonID=daemon, mpsApplied=True)
    folder = node.settings.plugin_dir / "mps" / daemon
    (folder / "pipe").mkdir(parents=True)
    node.api.put(DEPLOYMENTS, {"metadata": {"name": f"mps-control-daemon-{daemon}", "namespace": "default"}})
    found = await node.takes_over()
    assert folder.exists()

    await found.machine.release(claim.uid)

    assert not folder.exists()
    assert node.api.objects(DEPLOYMENTS) == []


async def test_a_virtual_machines_gpu_goes_back_to_nvidias_driver(node: Migrating) -> None:
    bus = node.doors.host
    address = "0000:61:00.0"
    offers = (await node.start()).planner.stock.offers
    node.settings.journal.unlink()
    name = next(each for each, offer in offers.items() if offer.hardware == address and "vfio" in each)
    bus.write_text(PurePosixPath("/sys/bus/pci/drivers/nvidia/unbind"), address)
    bus.write_text(PurePosixPath(f"/sys/bus/pci/devices/{address}/driver_override"), "vfio-pci")
    bus.write_text(PurePosixPath("/sys/bus/pci/drivers/vfio-pci/bind"), address)
    node.doors.usage.modes[address] = False
    claim = node.held("vm", name)
    given = node.entries[claim.uid]["preparedDevices"][0]["devices"][0]["gpu"]["device"]
    node.entries[claim.uid]["preparedDevices"] = [group("vfio", {"uuid": "x", "pciBusID": address}, given)]
    found = await node.takes_over()
    assert bus.driver(address) == "vfio-pci"

    await found.machine.release(claim.uid)

    assert bus.driver(address) == "nvidia"
    assert node.doors.usage.modes[address] is True


async def test_the_file_stays_as_it_is_and_is_not_read_twice(node: Migrating) -> None:
    claim = node.held("a", "gpu-3")
    found = await node.takes_over()
    before = node.file.read_bytes()
    await found.machine.release(claim.uid)
    await found.machine.stop(timeout_seconds=5)

    again = await node.life()

    assert again.machine.entries == ()
    assert node.file.read_bytes() == before


@pytest.mark.capability("003-16")
async def test_after_a_way_back_and_forth_both_drivers_claims_are_known(node: Migrating) -> None:
    first = await node.life()
    ours = node.claim("ours", "gpu-1")
    node.api.put(RESOURCE_CLAIMS, dict(ours.raw))
    await first.machine.prepare(first.planner.plan(ours))
    await first.machine.stop(timeout_seconds=5)
    theirs = node.held("theirs", "gpu-3")
    node.file.write_bytes(checkpoint(node.entries, boot_id=BOOT))
    later = node.settings.journal.stat().st_mtime_ns + 10**9
    os.utime(node.file, ns=(later, later))

    again = await node.life()

    assert {entry.uid for entry in again.machine.entries} == {ours.uid, theirs.uid}


@pytest.mark.parametrize("uid", ["../../etc/passwd", "", "a/b", "x" * 200])
async def test_a_uid_that_could_leave_the_folder_is_corruption(node: Migrating, uid: str) -> None:
    claim = node.held("a", "gpu-3")
    node.file.write_bytes(checkpoint({uid: node.entries[claim.uid]}))

    with pytest.raises(CorruptCheckpoint, match="claim uid"):
        read_checkpoint(node.file)


@pytest.mark.parametrize("daemon", ["../x-00000", "/etc", "..", "a-000"])
async def test_an_mps_id_that_could_leave_the_folder_is_corruption(node: Migrating, daemon: str) -> None:
    node.held("a", "gpu-3", mpsControlDaemonID=daemon)
    node.file.write_bytes(checkpoint(node.entries))

    with pytest.raises(CorruptCheckpoint, match="mpsControlDaemonID"):
        read_checkpoint(node.file)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_whatever_is_in_the_file_it_is_read_or_called_corrupt(tmp_path: Path, data: st.DataObject) -> None:
    """Any member replaced by anything, with right sums: the text is whole but makes no sense."""
    given_device = device("gpu-3", "x/y=z", pool=NODE)
    claims: Json = {"uid-1": completed({}, group("gpu", {"uuid": GPU}, given_device, timeSliceApplied=True))}
    place = claims
    for _ in range(data.draw(st.integers(0, 6))):
        keys = [key for key, value in place.items() if isinstance(value, dict)]
        if not keys:
            break
        place = place[data.draw(st.sampled_from(keys))]
    place[data.draw(st.sampled_from([*place, "new"]))] = data.draw(VALUES)
    file = tmp_path / "checkpoint.json"
    try:
        file.write_bytes(checkpoint(claims))
    except (KeyError, TypeError, UnicodeEncodeError):
        return

    with contextlib.suppress(CorruptCheckpoint):  # and nothing else
        assert read_checkpoint(file) is not None


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b'{"checksum":1', b"\xff\xfe", b'{"v2":3}', b"{}"])
def test_rubbish_is_called_corrupt(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "checkpoint.json").write_bytes(text)

    with pytest.raises(CorruptCheckpoint):
        read_checkpoint(tmp_path / "checkpoint.json")
