from typing import Any

import pytest

from claimwright.dra.kube import PODS, RESOURCE_SLICES, SECRETS, Forbidden, Invalid, Kube
from claimwright.e2e.scenario import Scenario


def slice_of(node: str) -> dict[str, Any]:
    pool = {"name": node, "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": "gpu.nvidia.com", "nodeName": node, "pool": pool, "devices": [{"name": "gpu-0"}]}
    return {"metadata": {"generateName": "rights-"}, "spec": spec}


@pytest.mark.capability("002-17")
@pytest.mark.capability("000-20")
def test_the_driver_may_write_slices_of_its_own_node_only(scenario: Scenario) -> None:
    driver = Kube.from_kubeconfig(scenario.world.driver_kubeconfig)

    driver.create(RESOURCE_SLICES, slice_of(scenario.world.node_name), dry_run=True)

    with pytest.raises((Forbidden, Invalid), match="may not write a ResourceSlice of node 'another-node'"):
        driver.create(RESOURCE_SLICES, slice_of("another-node"), dry_run=True)


@pytest.mark.capability("002-17")
@pytest.mark.parametrize("resource", [PODS, SECRETS], ids=["pods", "secrets"])
def test_the_driver_may_not_read_what_it_does_not_need(scenario: Scenario, resource: Any) -> None:
    driver = Kube.from_kubeconfig(scenario.world.driver_kubeconfig)

    with pytest.raises(Forbidden):
        driver.list(resource, namespace=scenario.workspace.namespace)
