import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from claimwright.e2e.deployment import DRIVER
from claimwright.e2e.kubernetes_door import Missing
from claimwright.e2e.kubevirt import FROM_TEMPLATE, json_stream, launcher_pod
from claimwright.e2e.scenario import Scenario, assert_sees_exactly, gpu_pod

GATES = "PassthroughSupport=true,DynamicMIG=true,DeviceMetadata=true"
PCI_BUS_ID = "resource.kubernetes.io/pciBusID"
METADATA = FROM_TEMPLATE.format(claim="dra-gpu-claim", request="dra-gpu", driver=DRIVER)


def whole_gpu_at(address: str) -> dict[str, Any]:
    here = f"device.attributes['resource.kubernetes.io'].pciBusID == '{address}'"
    exactly = {"deviceClassName": "gpu.nvidia.com", "selectors": [{"cel": {"expression": here}}]}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": "whole-gpu"},
        "spec": {"spec": {"devices": {"requests": [{"name": "gpu", "exactly": exactly}]}}},
    }


def machine_of_the_guide(scenario: Scenario) -> dict[str, Any]:
    """Apply the guide's file as it is, and return its machine as the API server has it."""
    kubernetes = scenario.world.kubernetes
    kubernetes.ensure(yaml.safe_load(Path(__file__).with_name("virtualmachineinstance.yaml").read_text()))
    machines = f"/apis/kubevirt.io/v1/namespaces/{scenario.workspace.namespace}/virtualmachineinstances"

    def served() -> bool:
        try:
            return "items" in kubernetes.get(machines)
        except Missing:
            return False

    scenario.wait_until("the API server serves the kind", served)
    scenario.apply("kubevirt.yaml")
    return kubernetes.get(f"{machines}/vm-dra-gpu")


@pytest.mark.capability("000-04")
@pytest.mark.capability("000-11")
@pytest.mark.capability("001-01")
@pytest.mark.capability("001-06")
@pytest.mark.capability("001-10")
@pytest.mark.capability("001-11")
@pytest.mark.capability("001-12")
@pytest.mark.capability("001-13")
def test_a_machine_gets_a_gpu_and_after_it_a_container_gets_the_same_one(scenario: Scenario) -> None:
    with scenario.driver_set_to(FEATURE_GATES=GATES):
        scenario.wait_until("GPUs are offered to machines", lambda: "gpu-vfio-0" in scenario.devices())
        scenario.workspace.apply([launcher_pod(machine_of_the_guide(scenario))])
        launcher = scenario.running("virt-launcher-vm-dra-gpu")
        claim = scenario.workspace.claim_of(launcher, "dra-gpu-claim")
        seen = scenario.observe(launcher, "compute")
        ((pool, device),) = claim.devices or ()
        published = scenario.devices()[device]["attributes"]
        address = published[PCI_BUS_ID]["string"]

        assert device.startswith("gpu-vfio-")
        assert (seen.gpus, dict(seen.nodes), seen.visible_devices) == ((), {}, "void")
        assert set(seen.foreign.values()) | set(seen.strangers) <= {"EPERM"}
        assert_only_legacy_vfio(set(seen.special))
        told = list(json_stream(seen.metadata[METADATA]))
        assert [each["apiVersion"].rpartition("/")[2] for each in told] == ["v1beta1", "v1alpha1"]
        for each in told:
            assert (each["metadata"]["uid"], each["podClaimName"]) == (claim.uid, "dra-gpu-claim")
            ((given,),) = (request["devices"] for request in each["requests"] if request["name"] == "dra-gpu")
            assert (given["driver"], given["pool"], given["name"]) == (DRIVER, pool, device)
            assert {name: published[name] for name in given["attributes"]} == given["attributes"]
            assert given["attributes"][PCI_BUS_ID] == {"string": address}
        assert {name for name in scenario.cdi_files() if claim.uid in name} == {
            f"k8s.gpu.nvidia.com-claim_{claim.uid}.json",
            f"gpu.nvidia.com_metadata_{claim.uid}_dra-gpu.json",
        }

        scenario.workspace.delete_pod("virt-launcher-vm-dra-gpu")
        scenario.workspace.apply([whole_gpu_at(address), gpu_pod("container", "whole-gpu")])
        container = scenario.running("container")

        assert_sees_exactly(scenario.observe(container, "probe"), scenario.allocated(container, "gpu"))
        assert not scenario.prepared(claim.uid)
        scenario.workspace.delete_pod("container")


def assert_only_legacy_vfio(nodes: set[str]) -> None:
    """The API device, which the manifest asks for, and one IOMMU group; no IOMMUFD, which it does not allow."""
    assert "/dev/vfio/vfio" in nodes
    (group,) = nodes - {"/dev/vfio/vfio"}
    assert re.fullmatch(r"/dev/vfio/\d+", group)
