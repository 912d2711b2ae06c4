"""vGPUs through the driver: mediated devices and virtual functions of one emulated host, by files and NVML."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from claimwright.dra.claims import ClaimReference
from claimwright.dra.prepared import PreparedDevice
from claimwright.dra.slices import Capacity
from claimwright.e2e.driven_node import DrivenNode

pytestmark = pytest.mark.e2e
GATE = "VGPUSupport=true,DeviceMetadata=true"
T4, L4, H100 = "0000:d1:00.0", "0000:51:00.0", "0000:21:00.0"
T4_2Q, L4_4Q, L4_12Q, H100_10C = (
    "gpu-7-vgpu-t4-2q",
    "gpu-3-vgpu-l4-4q",
    "gpu-3-vgpu-l4-12q",
    "gpu-0-vgpu-h100-10c",
)
BUS_ID = "resource.kubernetes.io/pciBusID"
CONFIG = {"apiVersion": "gpu.claimwright.dev/v1alpha1", "kind": "VgpuDeviceConfig"}
API_DEVICE = {**CONFIG, "iommu": {"enableAPIDevice": True}}
RUNNING = """
gpu = n.nvmlDeviceGetHandleByIndex({})
for each in n.nvmlDeviceGetActiveVgpus(gpu):
    print(n.nvmlVgpuTypeGetName(n.nvmlVgpuInstanceGetType(each)))
"""


@pytest.fixture
def node() -> Iterator[DrivenNode]:
    with DrivenNode("every-mode") as node:
        yield node


def sysfs(node: DrivenNode, path: str) -> Path:
    return node.node.host_root / "sys" / path


def pci(node: DrivenNode, path: str) -> Path:
    return sysfs(node, f"bus/pci/devices/{path}")


def mdevs(node: DrivenNode) -> set[str]:
    return {path.name for path in sysfs(node, "bus/mdev/devices").iterdir()}


def types(node: DrivenNode, address: str) -> dict[str, str]:
    """Return the types of the virtual functions that have one."""
    found = {
        path.resolve().name: path / "nvidia/current_vgpu_type" for path in pci(node, address).glob("virtfn*")
    }
    return {name: text for name, path in found.items() if (text := path.read_text().strip()) != "0"}


def functions(node: DrivenNode, address: str) -> int:
    return int((pci(node, address) / "sriov_numvfs").read_text())


def room(node: DrivenNode) -> dict[str, str]:
    """Return what every type of the T4 says is left."""
    folder = pci(node, T4) / "mdev_supported_types"
    return {path.parent.name: path.read_text() for path in sorted(folder.glob("*/available_instances"))}


def world(node: DrivenNode) -> object:
    numbers = {address: functions(node, address) for address in (L4, H100)}
    return mdevs(node), room(node), numbers, {address: types(node, address) for address in numbers}


def share(node: DrivenNode, name: str, device: str, **more: object) -> ClaimReference:
    return node.claim(name, [device], shareID=str(uuid.uuid5(uuid.NAMESPACE_DNS, name)), **more)  # type: ignore[arg-type]


def told(node: DrivenNode, claim: ClaimReference) -> dict[str, str]:
    """Return the attributes that the claim's device has in the metadata file of its virtual machine (KEP-5304)."""
    file = node.plugins / "gpu.nvidia.com/dra-device-metadata" / f"default_{claim.name}" / "r0/metadata.json"
    content = json.JSONDecoder().raw_decode(file.read_text())[0]
    (device,) = content["requests"][0]["devices"]
    return {name: value["string"] for name, value in device["attributes"].items()}


def nodes(node: DrivenNode, devices: tuple[PreparedDevice, ...]) -> set[str]:
    return {item.path for item in node.edits(devices).device_nodes}


@pytest.mark.capability("000-05")
def test_mediated_devices_and_virtual_functions_serve_claims_of_one_node_at_once(node: DrivenNode) -> None:
    before = world(node)
    node.start(GATE)
    mediated = share(node, "mediated", T4_2Q, configs=[API_DEVICE])
    virtual = share(node, "virtual", L4_4Q, configs=[API_DEVICE])

    (one,), (other,) = node.prepared(mediated), node.prepared(virtual)
    name, function = told(node, mediated)["mdevUUID"], told(node, virtual)[BUS_ID]
    group = sysfs(node, f"bus/mdev/devices/{name}/iommu_group").readlink().name
    edits = node.edits((one,))

    assert mdevs(node) == {name}
    assert sysfs(node, f"bus/mdev/devices/{name}").resolve().parent.name == T4
    assert nodes(node, (one,)) == {"/dev/vfio/vfio", f"/dev/vfio/{group}"}
    assert tuple(edits.env) == ("NVIDIA_VISIBLE_DEVICES=void",)
    assert (set(told(node, mediated)), set(told(node, virtual))) == ({"mdevUUID"}, {BUS_ID})
    assert set(types(node, L4)) == {function}
    group = (pci(node, function) / "iommu_group").readlink().name
    assert nodes(node, (other,)) == {"/dev/vfio/vfio", f"/dev/vfio/{group}"}

    node.released(mediated)
    node.released(virtual)
    assert world(node) == before


def test_claims_share_a_type_until_the_board_is_full_and_another_size_waits(node: DrivenNode) -> None:
    node.start(GATE)
    claims = [share(node, f"c{number}", L4_4Q) for number in range(6)]
    other = share(node, "other", L4_12Q)

    answers = node.prepare(*claims)
    (refused,) = node.prepare(other)
    (full,) = node.prepare(share(node, "seventh", L4_4Q))

    assert [answer.error for answer in answers] == [""] * 6
    assert len(types(node, L4)) == 6
    assert "is already allocated to different claim" in refused.error
    assert "has no room for it beside those that it carries" in full.error
    for claim in claims[:5]:
        node.released(claim)
    assert functions(node, L4) == 24
    node.released(claims[5])
    assert functions(node, L4) == 0
    node.prepared(other)


def test_several_sizes_share_a_gpu_in_the_places_that_the_scheduler_chose(node: DrivenNode) -> None:
    node.node.call("set_mixed_sizes", gpu=3, enabled=True)
    node.start(GATE)
    devices = node.wait_devices(lambda found: f"{L4_12Q}-at-2" in found)
    small, large = node.claim("small", [f"{L4_4Q}-at-1"]), node.claim("large", [f"{L4_12Q}-at-2"])
    equal = node.claim("equal", [f"{L4_4Q}-at-0"], configs=[{**CONFIG, "sizePolicy": "EqualSize"}])
    across = node.claim("across", [f"{L4_12Q}-at-0"])

    for claim in (small, large):
        node.prepared(claim)
    refusals = [answer.error for answer in node.prepare(across, equal)]
    placed = {told(node, claim)[BUS_ID]: claim.name for claim in (small, large)}
    at = {
        name: (pci(node, function) / "nvidia/placement_id").read_text().strip()
        for function, name in placed.items()
    }

    assert L4_4Q not in devices
    assert at == {"small": "1", "large": "2"}
    assert "is already allocated to different claim" in refusals[0]
    assert 'sizePolicy is "EqualSize"' in refusals[1]
    counters = devices[f"{L4_12Q}-at-2"].consumes_counters[0].counters
    assert set(counters) == {"vgpu-slot-2", "vgpu-slot-3"}


def test_the_slices_say_what_a_type_is_and_that_it_excludes_the_whole_gpu(node: DrivenNode) -> None:
    node.start(f"{GATE},DynamicMIG=true")
    devices = node.wait_devices(lambda found: H100_10C in found and T4_2Q in found)

    t4, h100 = devices[T4_2Q], devices[H100_10C]
    sets = {item.name: item.counters for found in node.slices() for item in found.shared_counters}
    vgpus = t4.capacity["vgpus"]

    assert t4.allow_multiple_allocations
    assert isinstance(vgpus, Capacity)
    assert str(vgpus.value) == "8"
    assert t4.attributes["framebufferMiB"] == 2048
    assert t4.attributes["licenseClass"] == "NVIDIA-Virtual-DWS"
    assert t4.attributes["parentUUID"] == devices["gpu-7"].attributes["uuid"]
    assert t4.attributes["resource.kubernetes.io/pcieRoot"] == "pci0000:d0"
    for device in (t4, h100):
        (consumed,) = device.consumes_counters
        assert consumed.counters == sets[consumed.counter_set]
    assert devices["gpu-7"].consumes_counters == t4.consumes_counters
    assert devices["gpu-0"].consumes_counters == h100.consumes_counters


def test_a_running_machine_keeps_its_vgpu_and_is_named_until_it_stops(node: DrivenNode) -> None:
    node.start(GATE)
    mediated, virtual = share(node, "mediated", T4_2Q), share(node, "virtual", L4_4Q)
    for claim in (mediated, virtual):
        node.prepared(claim)
    carriers = [told(node, mediated)["mdevUUID"], told(node, virtual)[BUS_ID]]
    machines = ["c7d9c3a5-0000-4000-8000-000000000001", "c7d9c3a5-0000-4000-8000-000000000002"]
    for pid, (carrier, machine) in enumerate(zip(carriers, machines, strict=True), 4000):
        node.node.call("start_vm", carrier=carrier, vm=machine, pid=pid)

    errors = node.release(mediated, virtual)
    running = node.nvml(RUNNING.format(7)), node.nvml(RUNNING.format(3))
    for carrier in carriers:
        node.node.call("stop_vm", carrier=carrier)
    again = node.release(mediated, virtual)

    for error, machine in zip(errors, machines, strict=True):
        assert f"in use by virtual machine {machine}" in error
    assert running == ("GRID T4-2Q", "NVIDIA L4-4Q")
    assert again == ["", ""]
    assert (mdevs(node), functions(node, L4)) == (set(), 0)


def test_an_administrators_functions_and_vgpus_are_left_alone(node: DrivenNode) -> None:
    (pci(node, L4) / "sriov_numvfs").write_text("4")
    foreign = pci(node, L4) / "virtfn0/nvidia/current_vgpu_type"
    offered = (pci(node, L4) / "virtfn0/nvidia/creatable_vgpu_types").read_text().splitlines()
    foreign.write_text(next(line.split()[0] for line in offered if line.endswith("L4-4Q")))
    own = str(uuid.uuid4())
    (pci(node, T4) / "mdev_supported_types/nvidia-222/create").write_text(own)
    before = world(node)
    node.start(GATE)
    devices = node.wait_devices(lambda found: {"gpu-0", "gpu-7-vgpu-t4-1q"} <= set(found))
    kept = foreign.read_text()
    claim = share(node, "a", L4_4Q)

    node.prepared(claim)
    taken = types(node, L4)
    node.released(claim)

    assert not {"gpu-3", "gpu-7"} & set(devices)
    sizes = {devices[name].attributes["framebufferMiB"] for name in devices if name.startswith("gpu-7-vgpu-")}
    assert sizes == {1024}
    assert len(taken) == 2
    assert foreign.read_text() == kept
    assert world(node) == before


def test_a_restarted_driver_gives_the_same_vgpu_and_removes_it(node: DrivenNode) -> None:
    node.start(GATE)
    mediated, virtual = share(node, "mediated", T4_2Q), share(node, "virtual", L4_4Q)
    first = node.prepared(mediated), node.prepared(virtual)
    node.kill()

    node.start(GATE)

    assert (node.prepared(mediated), node.prepared(virtual)) == first
    second = share(node, "second", L4_4Q)
    node.prepared(second)
    assert len(types(node, L4)) == 2
    for claim in (mediated, virtual, second):
        node.released(claim)
    assert (mdevs(node), functions(node, L4)) == (set(), 0)


@pytest.mark.capability("004-11")
@pytest.mark.capability("000-01")
def test_one_node_serves_all_modes_at_once_and_a_gpu_goes_from_one_to_the_next(node: DrivenNode) -> None:
    before = world(node)
    node.start("AllAlpha=true")
    devices = node.wait_devices(lambda found: {T4_2Q, L4_4Q, "gpu-vfio-4", "gpu-1"} <= set(found))
    part = next(name for name in devices if name.startswith("gpu-0-mig-1g"))
    modes = {"full": "gpu-1", "part": part, "vfio": "gpu-vfio-4"}
    claims = [node.claim(name, [device]) for name, device in modes.items()]
    claims += [share(node, "mediated", T4_2Q), share(node, "virtual", L4_4Q)]

    answers = node.prepare(*claims)
    wrong = [answer.error for answer in node.prepare(share(node, "beside", H100_10C))]
    released = node.release(*claims)

    assert [answer.error for answer in answers] == [""] * 5, node.log_end()
    assert "is already allocated to different claim" in wrong[0]
    assert released == [""] * 5
    for step, device in enumerate(
        ("gpu-3", L4_4Q, "gpu-vfio-3", L4_12Q, "gpu-3", "gpu-0", H100_10C, part, H100_10C)
    ):
        claim = (
            share(node, f"step{step}", device) if "vgpu" in device else node.claim(f"step{step}", [device])
        )
        node.prepared(claim)
        node.released(claim)
    assert world(node) == before


def test_a_driver_that_lost_its_journal_finds_its_vgpus_again(node: DrivenNode) -> None:
    node.start(GATE)
    claims = [share(node, name, device) for name, device in (("a", T4_2Q), ("b", L4_4Q), ("c", L4_4Q))]
    first = [node.prepared(claim) for claim in claims]
    before = world(node)
    node.kill()
    (node.plugins / "gpu.nvidia.com/claims.journal").unlink()

    node.start(GATE)

    assert [node.prepared(claim) for claim in claims] == first
    assert world(node) == before
    for claim in claims:
        node.released(claim)
    assert (mdevs(node), types(node, L4)) == (set(), {})


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hundred_cycles_with_a_driver_killed_at_random_leave_nothing(node: DrivenNode) -> None:
    before, chance = world(node), random.Random(20)
    node.start(GATE)
    kills = 0
    for cycle in range(100):
        claims = [share(node, f"c{cycle}-{each}", each) for each in (T4_2Q, L4_4Q, H100_10C)]
        kills += finish(node, lambda of=claims: [each.error for each in node.prepare(*of)], chance)  # type: ignore[misc]
        assert (len(mdevs(node)), len(types(node, L4)), len(types(node, H100))) == (1, 1, 1)
        kills += finish(node, lambda of=claims: node.release(*of), chance)  # type: ignore[misc]
        assert world(node) == before, f"cycle {cycle}"
    assert kills > 10


def finish(node: DrivenNode, call: Callable[[], list[str]], chance: random.Random) -> int:
    """Call until it goes well, as the kubelet does; some calls are made of a driver that dies meanwhile."""
    assert node.process is not None
    dies = chance.random() < 0.2
    killer = threading.Timer(chance.random() * 0.06, node.process.kill)
    if dies:
        killer.start()
    with contextlib.suppress(Exception):  # whatever a call says whose server has gone
        call()
    if dies:
        killer.join()
        node.start(GATE)
    assert not any(call())
    return int(dies)
