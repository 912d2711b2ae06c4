"""Passthrough through the driver: on a real process and an emulated board whose files act as the kernel's do."""

from __future__ import annotations

import itertools
import os
import subprocess
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from claimwright.dra.claims import ClaimReference, ClaimUid
from claimwright.dra.kube import RESOURCE_CLAIMS
from claimwright.dra.prepared import PreparedDevice
from claimwright.dra.testing import allocated_claim
from claimwright.e2e.deadlines import wait_until
from claimwright.e2e.driven_node import DRIVER, NODE, DrivenNode
from claimwright.e2e.kubevirt import json_stream

pytestmark = pytest.mark.e2e
GATES = "PassthroughSupport=true,DynamicMIG=true,DeviceMetadata=true"
MANIFEST = Path(__file__).parents[1] / "scenarios/passthrough/kubevirt.yaml"
PCI_BUS_ID = "resource.kubernetes.io/pciBusID"
IN_CONTAINER = "/var/run/kubernetes.io/dra-device-attributes"
SEEN = """
for index in range(n.nvmlDeviceGetCount()):
    print(n.nvmlDeviceGetPciInfo(n.nvmlDeviceGetHandleByIndex(index)).busId)
"""
PERSISTENCE = "print(n.nvmlDeviceGetPersistenceMode(n.nvmlDeviceGetHandleByPciBusId('{}'.encode())))"


@pytest.fixture
def node() -> Iterator[DrivenNode]:
    with DrivenNode("every-mode") as node:
        yield node


def address_of(node: DrivenNode, device: str) -> str:
    return str(node.devices()[device].attributes[PCI_BUS_ID])


def kernel_driver(node: DrivenNode, address: str) -> str | None:
    link = node.node.host_root / "sys/bus/pci/devices" / address / "driver"
    return link.readlink().name if link.is_symlink() else None


def override(node: DrivenNode, address: str) -> str:
    return (node.node.host_root / "sys/bus/pci/devices" / address / "driver_override").read_text().strip()


def group_of(node: DrivenNode, address: str) -> str:
    return (node.node.host_root / "sys/bus/pci/devices" / address / "iommu_group").readlink().name


def nodes(node: DrivenNode, devices: tuple[PreparedDevice, ...]) -> list[str]:
    return [item.path for item in node.edits(devices).device_nodes]


def visible(node: DrivenNode) -> list[str]:
    return sorted(word.lower()[-12:] for word in node.nvml(SEEN).split())


def from_template(node: DrivenNode, manifest: Path) -> tuple[ClaimReference, str]:
    """Do what Kubernetes does with the template of a VM: make its claim, allocate the first device of the class."""
    template, machine = yaml.safe_load_all(manifest.read_text())
    devices = template["spec"]["spec"]["devices"]
    (request,) = devices["requests"]
    assert request["exactly"]["deviceClassName"] == "vfio.gpu.nvidia.com"
    (chosen, *_) = (name for name, each in node.devices().items() if each.attributes["type"] == "vfio")
    (pod_claim,) = machine["spec"]["resourceClaims"]
    assert pod_claim["resourceClaimTemplateName"] == template["metadata"]["name"]
    item = allocated_claim(
        "vm-dra-gpu-dra-gpu-claim-x1",
        DRIVER,
        [(request["name"], NODE, chosen)],
        configs=[{"source": "FromClaim", **config} for config in devices["config"]],
        pod_claim_name=pod_claim["name"],
    )
    stored = node.api.put(RESOURCE_CLAIMS, item)
    return ClaimReference("default", item["metadata"]["name"], ClaimUid(stored["metadata"]["uid"])), chosen


@pytest.mark.capability("001-03")
@pytest.mark.capability("001-04")
@pytest.mark.capability("000-04")
@pytest.mark.capability("001-10")
@pytest.mark.capability("001-12")
def test_the_manifest_of_kubevirts_guide_is_prepared_as_its_launcher_reads_it(node: DrivenNode) -> None:
    node.start(GATES)
    node.wait_devices(lambda found: "gpu-vfio-0" in found)
    claim, device = from_template(node, MANIFEST)
    address = address_of(node, device)

    (prepared,) = node.prepared(claim)
    edits = node.edits((prepared,))

    assert (prepared.requests, prepared.pool, prepared.device) == (("dra-gpu",), NODE, device)
    assert prepared.cdi_ids == (
        f"k8s.gpu.nvidia.com/claim={claim.uid}-{device}",
        f"gpu.nvidia.com/metadata={claim.uid}_dra-gpu",
    )
    assert [item.path for item in edits.device_nodes] == [
        "/dev/vfio/vfio",
        f"/dev/vfio/{group_of(node, address)}",
    ]
    assert edits.env == ("NVIDIA_VISIBLE_DEVICES=void",)
    (mount,) = edits.mounts
    assert mount.container_path == (
        f"{IN_CONTAINER}/resourceclaimtemplates/dra-gpu-claim/dra-gpu/gpu.nvidia.com-metadata.json"
    )
    assert "ro" in mount.options
    assert not edits.hooks
    assert kernel_driver(node, address) == "vfio-pci"

    newer, content = json_stream(Path(mount.host_path).read_text())
    published = node.devices()[device].attributes
    assert newer.pop("apiVersion") == "metadata.resource.k8s.io/v1beta1"
    assert content.pop("apiVersion") == "metadata.resource.k8s.io/v1alpha1"
    assert newer == content
    assert content["metadata"] == {
        "name": claim.name,
        "namespace": "default",
        "uid": claim.uid,
        "generation": 1,
    }
    assert content["podClaimName"] == "dra-gpu-claim"
    assert content["requests"] == [
        {
            "name": "dra-gpu",
            "devices": [
                {
                    "driver": DRIVER,
                    "pool": NODE,
                    "name": device,
                    "attributes": {
                        PCI_BUS_ID: {"string": address},
                        "resource.kubernetes.io/pcieRoot": {
                            "string": published["resource.kubernetes.io/pcieRoot"]
                        },
                        "resource.kubernetes.io/numaNode": {
                            "int": published["resource.kubernetes.io/numaNode"]
                        },
                    },
                }
            ],
        }
    ]

    node.released(claim)
    assert kernel_driver(node, address) == "nvidia"
    assert not Path(mount.host_path).exists()
    assert not list(node.cdi_root.iterdir())


@pytest.mark.capability("000-04")
def test_a_gpu_leaves_nvml_with_its_claim_and_comes_back_as_it_was(node: DrivenNode) -> None:
    node.start(GATES)
    node.wait_devices(lambda found: "gpu-vfio-1" in found)
    address = address_of(node, "gpu-vfio-1")
    node.node.call("set_persistence_mode", gpu=1, enabled=True)
    before = visible(node)
    claim = node.claim("vm", ["gpu-vfio-1"])

    node.prepared(claim)
    during = visible(node)
    node.released(claim)

    assert [each for each in before if each not in during] == [address]
    assert visible(node) == before
    assert override(node, address) == "(null)"
    assert node.nvml(PERSISTENCE.format(address)) == "1"


def test_each_request_gets_the_interface_that_its_own_config_asks_for(node: DrivenNode) -> None:
    node.start(GATES)
    node.wait_devices(lambda found: "gpu-vfio-1" in found)
    policies = {
        "old": {"backendPolicy": "LegacyOnly"},
        "new": {"backendPolicy": "PreferIommuFD", "enableAPIDevice": True},
    }
    item = allocated_claim(
        "vm",
        DRIVER,
        [("old", NODE, "gpu-vfio-0"), ("new", NODE, "gpu-vfio-1")],
        configs=[vfio_config([request], iommu) for request, iommu in policies.items()],
    )
    uid = node.api.put(RESOURCE_CLAIMS, item)["metadata"]["uid"]
    claim = ClaimReference("default", "vm", ClaimUid(uid))

    old, new = node.prepared(claim)

    assert nodes(node, (old,)) == [f"/dev/vfio/{group_of(node, address_of(node, 'gpu-vfio-0'))}"]
    api, device = nodes(node, (new,))
    assert api == "/dev/iommu"
    names = [entry.name for entry in vfio_devices(node, address_of(node, "gpu-vfio-1"))]
    assert [device] == [f"/dev/vfio/devices/{name}" for name in names]
    node.released(claim)


def vfio_config(requests: list[str], iommu: Mapping[str, Any]) -> dict[str, Any]:
    parameters = {
        "apiVersion": "resource.nvidia.com/v1beta1",
        "kind": "VfioDeviceConfig",
        "iommu": dict(iommu),
    }
    return {
        "source": "FromClaim",
        "requests": requests,
        "opaque": {"driver": DRIVER, "parameters": parameters},
    }


def vfio_devices(node: DrivenNode, address: str) -> list[Path]:
    return sorted((node.node.host_root / "sys/bus/pci/devices" / address / "vfio-dev").iterdir())


@pytest.mark.capability("000-01")
def test_one_form_of_a_gpu_at_a_time_and_nothing_is_published_for_it(node: DrivenNode) -> None:
    node.start(GATES)
    devices = node.wait_devices(lambda found: {"gpu-0", "gpu-vfio-0", "gpu-7"} <= set(found))
    consumed = {name: devices[name].consumes_counters for name in ("gpu-0", "gpu-vfio-0")}
    before = [(each.name, each.generation) for each in node.slices()]
    forms = ("gpu-vfio-0", "gpu-0", next(name for name in devices if name.startswith("gpu-0-mig-1g")))

    for first, other in itertools.permutations(forms, 2):
        one, two = node.claim(f"one-{first}-{other}", [first]), node.claim(f"two-{first}-{other}", [other])
        node.prepared(one)
        (refused,) = node.prepare(two)
        node.released(one)
        node.prepared(two)
        node.released(two)
        assert "is already allocated to different claim" in refused.error, (first, other)

    assert consumed["gpu-0"] == consumed["gpu-vfio-0"]
    assert consumed["gpu-0"]
    assert [(each.name, each.generation) for each in node.slices()] == before


@pytest.mark.capability("001-08")
def test_who_uses_the_gpu_is_named_at_once_and_keeps_it(node: DrivenNode) -> None:
    node.start(GATES)
    node.wait_devices(lambda found: "gpu-vfio-2" in found)
    address = address_of(node, "gpu-vfio-2")
    claim = node.claim("vm", ["gpu-vfio-2"])
    with subprocess.Popen(["/bin/sleep", "600"]) as user:
        node.node.call("start_process", gpu=2, pid=user.pid, name="sleep", memory_bytes=1 << 30)
        (busy,) = node.prepare(claim)
        stays = kernel_driver(node, address)
        node.node.call("stop_process", gpu=2, pid=user.pid)
        user.kill()
    node.prepared(claim)
    node.released(claim)

    assert f"GPU {address} is in use by process {user.pid} (sleep);" in busy.error
    assert stays == "nvidia"
    assert kernel_driver(node, address) == "nvidia"


def test_what_an_administrator_put_on_vfio_is_served_and_left_there(node: DrivenNode) -> None:
    bus = node.node.host_root / "sys/bus/pci"
    address = next(iter(visible(node)))
    (bus / "drivers/nvidia/unbind").write_text(address)
    (bus / "devices" / address / "driver_override").write_text("vfio-pci")
    (bus / "drivers/vfio-pci/bind").write_text(address)
    node.start(GATES)
    devices = node.wait_devices(lambda found: "gpu-vfio-7" in found)
    claim = node.claim("vm", ["gpu-vfio-0"])

    node.prepared(claim)
    node.released(claim)

    assert devices["gpu-vfio-0"].attributes[PCI_BUS_ID] == address
    assert address not in {
        each.attributes[PCI_BUS_ID] for each in devices.values() if each.attributes["type"] == "gpu"
    }
    assert kernel_driver(node, address) == "vfio-pci"


def test_a_restarted_driver_answers_the_same_and_gives_the_gpu_back(node: DrivenNode) -> None:
    node.start(GATES)
    published = node.wait_devices(lambda found: "gpu-vfio-0" in found)
    address = address_of(node, "gpu-vfio-0")
    claim = node.claim("vm", ["gpu-vfio-0"], pod_claim_name="gpu")
    first = node.prepared(claim)
    content = node.edits(first)
    written = len(node.api.writes())
    node.kill()

    node.start(GATES)
    assert node.prepared(claim) == first
    assert node.edits(first) == content
    node.released(claim)
    assert kernel_driver(node, address) == "nvidia"
    node.stop()

    # The new process never saw the whole GPU, and yet knew its other forms, so that nothing had to be written.
    assert node.devices() == published
    assert not [path for verb, path in node.api.writes()[written:] if "resourceslices" in path]


def test_a_gpu_that_somebody_took_off_vfio_is_put_back_when_the_kubelet_asks_again(node: DrivenNode) -> None:
    node.start(GATES)
    node.wait_devices(lambda found: "gpu-vfio-0" in found)
    address = address_of(node, "gpu-vfio-0")
    claim = node.claim("vm", ["gpu-vfio-0"])
    first = node.prepared(claim)
    bus = node.node.host_root / "sys/bus/pci"
    (bus / "drivers/vfio-pci/unbind").write_text(address)

    again = node.prepared(claim)
    repaired = kernel_driver(node, address)
    (bus / "drivers/vfio-pci/unbind").write_text(address)
    node.released(claim)

    assert again == first
    assert repaired == "vfio-pci"
    assert (kernel_driver(node, address), override(node, address)) == ("nvidia", "(null)")


def test_with_every_gate_on_events_are_heard_and_a_gpu_changes_drivers_all_the_same(node: DrivenNode) -> None:
    node.start("AllAlpha=true,AllBeta=true")
    node.wait_devices(lambda found: "gpu-vfio-1" in found)
    claim = node.claim("vm", ["gpu-vfio-1"])

    for _ in range(3):
        node.prepared(claim)
        node.released(claim)

    assert kernel_driver(node, address_of(node, "gpu-vfio-1")) == "nvidia"


def test_the_sound_function_of_a_board_goes_with_it_and_comes_back() -> None:
    with DrivenNode("rtx-pro-6000") as node:
        node.start(GATES)
        node.wait_devices(lambda found: "gpu-vfio-0" in found)
        address = address_of(node, "gpu-vfio-0")
        sound = f"{address.rpartition('.')[0]}.1"
        before = kernel_driver(node, sound)
        claim = node.claim("vm", ["gpu-vfio-0"])

        node.prepared(claim)
        away = kernel_driver(node, address), kernel_driver(node, sound)
        node.released(claim)

        assert away == ("vfio-pci", "vfio-pci")
        assert (kernel_driver(node, address), kernel_driver(node, sound)) == ("nvidia", before)


@pytest.mark.capability("001-08")
def test_a_node_without_iommu_serves_containers_and_says_why_no_machines(node: DrivenNode) -> None:
    root = node.folder / "host-root"
    (root / "sys").mkdir(parents=True)
    for part in ("sys/bus", "sys/devices", "sys/module", "proc", "dev"):
        (root / part).symlink_to(node.node.host_root / part)
    node.start(GATES, environment={"HOST_ROOT": str(root)})
    devices = node.wait_devices(lambda found: "gpu-7" in found)
    claim = node.claim("pod", ["gpu-7"])

    node.prepared(claim)
    node.released(claim)

    assert not [name for name in devices if "vfio" in name]
    assert f"gpu-vfio-0 ({visible(node)[0]}) is not offered: the IOMMU is not enabled" in node.log.read_text()


@pytest.mark.capability("000-21")
@pytest.mark.slow
def test_a_hundred_machines_come_and_go_and_leave_nothing(node: DrivenNode) -> None:
    node.start(GATES)
    node.wait_devices(lambda found: "gpu-vfio-7" in found)
    before = visible(node)
    for cycle in range(100):
        claim = node.claim(f"vm-{cycle}", [f"gpu-vfio-{cycle % 8}"])
        node.prepared(claim)
        node.released(claim)

    overrides = {override(node, address) for address in before}
    assert visible(node) == before
    assert overrides == {"(null)"}
    assert not list(node.cdi_root.iterdir())
    assert not (node.node.host_root / "dev/vfio/devices").exists()


MORTAL = """
    import os, signal
    from claimwright.driver import journal
    from claimwright.driver.adapters import host

    left = [int(os.environ["DIES_AT"])]

    def passing():
        if left[0] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1

    def mortal(owner, name):
        call = getattr(owner, name)

        def passed(*arguments, **options):
            passing()
            answer = call(*arguments, **options)
            passing()
            return answer

        setattr(owner, name, passed)

    mortal(host.HostTree, "write_text")
    mortal(journal.DiskFile, "append")
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_before_and_after_each_write_a_gpu_is_prepared_or_as_before(
    node: DrivenNode, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(MORTAL))
    path = f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"
    address, died = "0000:21:00.0", True
    node.node.call("set_persistence_mode", gpu=0, enabled=True)
    for moment in itertools.count():
        node.start(GATES, environment={"PYTHONPATH": path, "DIES_AT": str(moment)})
        claim = node.claim(f"vm-{moment}", ["gpu-vfio-0"])
        died = _dies(node, claim)
        if not died:
            break
        node.start(GATES)
        wait_until(
            "the claim to be prepared or clean",
            lambda: settled(node, claim, address),  # noqa: B023  called at once
            seconds=30,
            seen=lambda: f"killed at {moment}: {traces(node, claim, address)}\n{node.log_end()}",  # noqa: B023
        )
        node.prepared(claim)
        node.released(claim)
        assert kernel_driver(node, address) == "nvidia"
        assert node.nvml(PERSISTENCE.format(address)) == "1"
        node.stop()

    assert moment > 20, "each write on the way is a moment"


def traces(node: DrivenNode, claim: ClaimReference, address: str) -> tuple[str | None, str, list[str]]:
    """Return what of a claim can be seen from outside: kernel driver, driver_override, CDI files."""
    files = sorted(each.name for each in node.cdi_root.iterdir() if claim.uid in each.name)
    return kernel_driver(node, address), override(node, address), files


def settled(node: DrivenNode, claim: ClaimReference, address: str) -> bool:
    driver, named, files = traces(node, claim, address)
    whole = driver == named == "vfio-pci" and f"k8s.gpu.nvidia.com-claim_{claim.uid}.json" in files
    return whole or (driver, named, files) == ("nvidia", "(null)", [])


def _dies(node: DrivenNode, claim: ClaimReference) -> bool:
    with suppress(Exception):
        node.prepare(claim)
        node.release(claim)
        node.stop()
        return False
    node.kill()
    return True
