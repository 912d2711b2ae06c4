from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from claimwright.e2e.hardware import gpu_at, hardware
from claimwright.e2e.helm import find_helm
from claimwright.e2e.installed import DRIVER, InstalledWorld, installed_world
from claimwright.e2e.kubevirt import FROM_TEMPLATE, json_stream, launcher_pod
from claimwright.e2e.objects import Claim
from claimwright.e2e.observation import Observation
from claimwright.e2e.scenario import gpu_pod
from claimwright.e2e.workspace import Workspace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="real nodes need root: namespaces, mounts and cgroups"),
]
HERE = Path(__file__).parent
CONTAINERS = ("full-gpu", "static-mig", "dynamic-mig", "mps", "time-slicing")
VGPUS = ("mdev-vgpu", "sriov-vgpu")
MACHINE = "virt-launcher-vm-dra-gpu"
BUS = "resource.kubernetes.io/pciBusID"
CAPABILITY = re.compile(r"/dev/nvidia-caps/nvidia-cap\d+")


@pytest.fixture(scope="module")
def node() -> Iterator[InstalledWorld]:
    if (program := find_helm()) is None:
        pytest.skip("no helm on PATH or in the cache: claimwright cluster build --program helm")
    with installed_world("modes", program=program) as world:
        world.install({"featureGates.AllAlpha": "true"})
        yield world


@pytest.fixture
def workspace(node: InstalledWorld) -> Iterator[Workspace]:
    workspace = Workspace(node.kubernetes, f"scenario-{uuid.uuid4().hex[:8]}")
    yield workspace
    workspace.close()


class Held:
    """One pod with its claim's one device, as published, and what its container saw."""

    def __init__(self, node: InstalledWorld, workspace: Workspace, pod: str, container: str) -> None:
        try:
            running = workspace.running(pod)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{node.logs('kubelet-plugin', 'gpus')}") from error
        ((self.claim_name, claim),) = running.claims.items()
        self.pod = pod
        self.claim: Claim = workspace.claim(claim)
        ((_, self.device),) = self.claim.devices or ()
        self.attributes: dict[str, Any] = node.devices()[self.device]["attributes"]
        self.address = str(self.attributes[BUS]["string"])
        self.seen = Observation.parse(workspace.wait_for_logs(pod, container))

    def attribute(self, name: str) -> str:
        return str(self.attributes[name]["string"])

    def told(self, request: str) -> dict[str, Any]:
        """What the metadata file of this claim says of its one device, in each version that it is written in."""
        path = FROM_TEMPLATE.format(claim=self.claim_name, request=request, driver=DRIVER)
        assert (set(self.seen.metadata), self.seen.writable) == ({path}, ())
        found = {
            each["apiVersion"].rpartition("/")[2]: each for each in json_stream(self.seen.metadata[path])
        }
        devices = {version: each["requests"][0]["devices"][0] for version, each in found.items()}
        assert {each["name"] for each in devices.values()} == {self.device}
        assert {each["metadata"]["uid"] for each in found.values()} == {self.claim.uid}
        assert list(found) == ["v1beta1", "v1alpha1"]
        (attributes, *others) = (each["attributes"] for each in devices.values())
        assert all(other == attributes for other in others)
        return dict(attributes)

    def row(self) -> tuple[str, ...]:
        """One line of the evidence."""
        nodes = (*(f"/dev/nvidia{minor}" for minor in self.seen.nodes), *self.seen.special)
        by_nvml = (*self.seen.uuids, *self.seen.parts, *(["MPS"] if self.seen.mps == "connected" else []))
        told = re.findall(r'"string":\s*"([^"]+)"', "".join(self.seen.metadata.values()))
        known = " ".join([*by_nvml, *told[:1]])
        return self.pod, self.claim.uid[:8], self.device, self.address, " ".join(sorted(nodes)), known


def table(rows: list[tuple[str, ...]]) -> str:
    heads = ("pod", "claim", "device", "GPU", "nodes in the container", "seen by NVML or told by metadata")
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@pytest.mark.capability("000-01")
@pytest.mark.capability("000-11")
def test_eight_pods_hold_eight_boards_in_eight_modes_and_leave_the_node_as_it_was(
    node: InstalledWorld, workspace: Workspace
) -> None:
    before = hardware(node.emulated), node.traces()
    template, machine = yaml.safe_load_all((HERE.parent / "passthrough/kubevirt.yaml").read_text())
    workspace.apply(HERE / "manifests.yaml")
    workspace.apply(gpu_pod(name, name) for name in (*CONTAINERS, *VGPUS))
    held = {name: Held(node, workspace, name, "probe") for name in (*CONTAINERS, *VGPUS)}
    workspace.apply([template, launcher_pod(machine)])
    held[MACHINE] = Held(node, workspace, MACHINE, "compute")

    print(f"\n{table([each.row() for each in held.values()])}")
    assert len({each.address for each in held.values()}) == len(held) == 8
    assert node.claims_in_the_journal() == sorted(each.claim.uid for each in held.values())
    for each in held.values():
        assert set(each.seen.foreign.values()) == {"EPERM"}, f"{each.pod} can open another pod's GPU"
        if each.seen.special:  # and so for VFIO groups and capabilities of partitions
            assert set(each.seen.strangers) == {"EPERM"}, f"{each.pod} can open {each.seen.strangers}"
            assert set(each.seen.special.values()) <= {"ENXIO", "ENODEV", "opened"}, dict(each.seen.special)
    containers_see_their_gpus(node, held)
    machines_see_their_devices(node, held)

    workspace.apply([gpu_pod("ninth", "any-gpu")])
    assert "cannot allocate all claims" in workspace.unschedulable("ninth")
    workspace.delete_pod(MACHINE)
    ninth = Held(node, workspace, "ninth", "probe")
    assert ninth.address == held[MACHINE].address
    assert ninth.seen.uuids == (ninth.attribute("uuid"),)

    for name in (*CONTAINERS, *VGPUS, "ninth"):
        workspace.delete_pod(name)
    assert (hardware(node.emulated), node.traces()) == before
    assert before[1]["journal"] == []


def containers_see_their_gpus(node: InstalledWorld, held: dict[str, Held]) -> None:
    """By NVML the allocated GPU and partition, by the kernel their nodes, and by the hardware its mode."""
    for name in CONTAINERS:
        each = held[name]
        truth = gpu_at(node.emulated, each.address)
        assert each.seen.uuids == (truth["uuid"],), name
        assert set(each.seen.nodes) == {truth["minor"]}, name
        assert set(each.seen.nodes.values()) <= {"ENXIO", "opened"}, name
        assert not each.seen.writable, name
        if "mig" not in name:
            assert (each.seen.special, each.seen.parts) == ({}, ()), name
    for name in ("static-mig", "dynamic-mig"):
        each = held[name]
        assert len(each.seen.special) == 2, name
        assert all(CAPABILITY.fullmatch(path) for path in each.seen.special), name
        assert len(each.seen.parts) == 1, name
    assert held["static-mig"].seen.parts == (held["static-mig"].attribute("uuid"),)
    assert [name for name, each in held.items() if each.seen.mps] == ["mps"]
    assert held["mps"].seen.mps == "connected"
    slices = {name: gpu_at(node.emulated, held[name].address)["time_slice"] for name in CONTAINERS}
    assert [name for name, length in slices.items() if length == "long"] == ["time-slicing"]


def machines_see_their_devices(node: InstalledWorld, held: dict[str, Held]) -> None:
    """By the kernel the VFIO container and one group, by NVML nothing, by metadata what the hardware has for it."""
    snapshot = node.emulated.call("snapshot")
    (mediated,) = snapshot["mediated_devices"]
    carriers = {gpu["gpu"]: gpu["carrier"] for gpu in snapshot["vgpus"]}
    function = carriers[gpu_at(node.emulated, held["sriov-vgpu"].address)["index"]]
    groups = {each["address"]: each["iommu_group"] for each in snapshot["pcie"]}
    expected = {
        MACHINE: ("dra-gpu", BUS, held[MACHINE].address, groups[held[MACHINE].address]),
        "mdev-vgpu": ("gpu", "mdevUUID", mediated["uuid"], mediated["iommu_group"]),
        "sriov-vgpu": ("gpu", BUS, function, groups[function]),
    }
    for name, (request, attribute, value, group) in expected.items():
        seen = held[name].seen
        assert (seen.uuids, dict(seen.nodes), seen.visible_devices) == ((), {}, "void"), name
        assert set(seen.special) == {"/dev/vfio/vfio", f"/dev/vfio/{group}"}, name
        assert held[name].told(request)[attribute] == {"string": value}, name
    assert "mdevUUID" not in held["sriov-vgpu"].told("gpu")
    assert gpu_at(node.emulated, held[MACHINE].address)["driver"] == "vfio-pci"
    assert gpu_at(node.emulated, held["sriov-vgpu"].address)["driver"] == "nvidia"
