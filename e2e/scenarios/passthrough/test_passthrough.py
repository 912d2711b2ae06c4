from pathlib import Path
from typing import Any

import pytest
import yaml

from claimwright.e2e.scenario import Scenario, assert_sees_exactly, gpu_pod

GATES = "PassthroughSupport=true,DynamicMIG=true,DeviceMetadata=true"
PCI_BUS_ID = "resource.kubernetes.io/pciBusID"


def template_of_kubevirt() -> dict[str, Any]:
    template, _machine = yaml.safe_load_all(Path(__file__).with_name("kubevirt.yaml").read_text())
    return dict(template)


def whole_gpu_at(address: str) -> dict[str, Any]:
    here = f"device.attributes['resource.kubernetes.io'].pciBusID == '{address}'"
    exactly = {"deviceClassName": "gpu.nvidia.com", "selectors": [{"cel": {"expression": here}}]}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": "whole-gpu"},
        "spec": {"spec": {"devices": {"requests": [{"name": "gpu", "exactly": exactly}]}}},
    }


@pytest.mark.capability("000-04")
@pytest.mark.capability("000-11")
@pytest.mark.capability("001-10")
def test_a_machine_gets_a_gpu_and_after_it_a_container_gets_the_same_one(scenario: Scenario) -> None:
    with scenario.driver_set_to(FEATURE_GATES=GATES):
        scenario.wait_until("GPUs are offered to machines", lambda: "gpu-vfio-0" in scenario.devices())
        scenario.workspace.apply([template_of_kubevirt()])
        scenario.apply("manifests.yaml")
        launcher = scenario.running("virt-launcher")
        claim = scenario.workspace.claim_of(launcher, "dra-gpu-claim")
        seen = scenario.observe(launcher, "compute")
        ((_pool, device),) = claim.devices or ()
        address = scenario.devices()[device]["attributes"][PCI_BUS_ID]["string"]

        assert device.startswith("gpu-vfio-")
        assert (seen.gpus, dict(seen.nodes), seen.visible_devices) == ((), {}, "void")
        assert set(seen.foreign.values()) <= {"EPERM"}
        assert {name for name in scenario.cdi_files() if claim.uid in name} == {
            f"k8s.gpu.nvidia.com-claim_{claim.uid}.json",
            f"gpu.nvidia.com_metadata_{claim.uid}_dra-gpu.json",
        }

        scenario.workspace.delete_pod("virt-launcher")
        scenario.workspace.apply([whole_gpu_at(address), gpu_pod("container", "whole-gpu")])
        container = scenario.running("container")

        assert_sees_exactly(scenario.observe(container, "probe"), scenario.allocated(container, "gpu"))
        assert not scenario.prepared(claim.uid)
        scenario.workspace.delete_pod("container")
