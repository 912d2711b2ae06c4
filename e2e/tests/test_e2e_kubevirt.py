"""The manifests of KubeVirt's guide for DRA GPUs stand in this repository as they are, and what follows from them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from claimwright.e2e.kubevirt import launcher_pod

MANIFEST = Path(__file__).parents[1] / "scenarios/passthrough/kubevirt.yaml"
CONFIG = "spec.spec.devices.config.0"
REQUEST = "spec.spec.devices.requests.0"
DEVICES = "spec.domain.devices"
# Every field that the guide's two manifests have, and its value.
TEMPLATE = {
    "apiVersion": "resource.k8s.io/v1",
    "kind": "ResourceClaimTemplate",
    "metadata.name": "dra-gpu-claim-template",
    f"{CONFIG}.requests.0": "dra-gpu",
    f"{CONFIG}.opaque.driver": "gpu.nvidia.com",
    f"{CONFIG}.opaque.parameters.apiVersion": "resource.nvidia.com/v1beta1",
    f"{CONFIG}.opaque.parameters.kind": "VfioDeviceConfig",
    f"{CONFIG}.opaque.parameters.iommu.backendPolicy": "LegacyOnly",
    f"{CONFIG}.opaque.parameters.iommu.enableAPIDevice": True,
    f"{REQUEST}.name": "dra-gpu",
    f"{REQUEST}.exactly.allocationMode": "ExactCount",
    f"{REQUEST}.exactly.count": 1,
    f"{REQUEST}.exactly.deviceClassName": "vfio.gpu.nvidia.com",
}
MACHINE = {
    "apiVersion": "kubevirt.io/v1",
    "kind": "VirtualMachineInstance",
    "metadata.name": "vm-dra-gpu",
    "metadata.labels.app": "vm-dra-gpu-test",
    "spec.resourceClaims.0.name": "dra-gpu-claim",
    "spec.resourceClaims.0.resourceClaimTemplateName": "dra-gpu-claim-template",
    "spec.domain.resources.requests.memory": "128Mi",
    "spec.domain.cpu.cores": 1,
    f"{DEVICES}.disks.0.name": "containerdisk",
    f"{DEVICES}.disks.0.disk.bus": "virtio",
    f"{DEVICES}.interfaces.0.name": "default",
    f"{DEVICES}.interfaces.0.masquerade": {},
    f"{DEVICES}.gpus.0.name": "gpu0",
    f"{DEVICES}.gpus.0.claimName": "dra-gpu-claim",
    f"{DEVICES}.gpus.0.requestName": "dra-gpu",
    "spec.networks.0.name": "default",
    "spec.networks.0.pod": {},
    "spec.volumes.0.name": "containerdisk",
    "spec.volumes.0.containerDisk.image": "quay.io/kubevirt/cirros-container-disk-demo:latest",
}


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each field that holds no further ones, by its path; `{}` is one."""
    inner = dict(enumerate(value)) if isinstance(value, list) else value
    if not isinstance(inner, dict) or not inner:
        yield path, value
        return
    for name, each in inner.items():
        yield from leaves(each, f"{path}.{name}" if path else str(name))


@pytest.mark.capability("001-16")
def test_the_guides_manifests_are_kept_field_by_field_and_nothing_is_added() -> None:
    template, machine = yaml.safe_load_all(MANIFEST.read_text())

    assert dict(leaves(template)) == TEMPLATE
    assert dict(leaves(machine)) == MACHINE


@pytest.mark.capability("001-13")
def test_the_launchers_pod_asks_for_what_the_machine_names_and_for_nothing_else() -> None:
    _, machine = yaml.safe_load_all(MANIFEST.read_text())

    spec = launcher_pod(machine, image="launcher")["spec"]

    (container,) = spec["containers"]
    assert spec["resourceClaims"] == machine["spec"]["resourceClaims"]
    assert container["resources"]["claims"] == [{"name": "dra-gpu-claim", "request": "dra-gpu"}]


@pytest.mark.capability("001-15")
@pytest.mark.parametrize("change", [{"claimName": "another"}, {"claimName": None}])
def test_a_machine_whose_references_do_not_hold_has_no_pod(change: dict[str, Any]) -> None:
    _, machine = yaml.safe_load_all(MANIFEST.read_text())
    machine["spec"]["domain"]["devices"]["gpus"][0].update(change)

    with pytest.raises(KeyError):
        launcher_pod(machine)
