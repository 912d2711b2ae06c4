from typing import Any

import pytest

from claimwright.e2e.scenario import Scenario, assert_sees_exactly, gpu_pod

PODS, ROUNDS = 6, 3


def sharing_pod(name: str) -> dict[str, Any]:
    pod = gpu_pod(name, "")
    pod["spec"]["resourceClaims"] = [{"name": "gpu", "resourceClaimName": "shared"}]
    return pod


def reserved_for(scenario: Scenario) -> set[str]:
    path = f"/apis/resource.k8s.io/v1/namespaces/{scenario.workspace.namespace}/resourceclaims/shared"
    status = scenario.world.kubernetes.get(path).get("status", {})
    return {consumer["uid"] for consumer in status.get("reservedFor", ())}


@pytest.mark.capability("002-08")
def test_many_pods_share_a_claim_many_times_and_leave_nothing(scenario: Scenario) -> None:
    before = scenario.cdi_files()
    scenario.apply("manifests.yaml")
    uid = scenario.workspace.claim("shared").uid

    for round_number in range(ROUNDS):
        names = [f"sharer-{round_number}-{number}" for number in range(PODS)]
        scenario.workspace.apply(sharing_pod(name) for name in names)
        pods = [scenario.running(name) for name in names]
        assert reserved_for(scenario) == {pod.uid for pod in pods}
        for pod in pods:
            assert_sees_exactly(scenario.observe(pod, "probe"), scenario.allocated(pod, "gpu"))
        for name in names[:-1]:
            scenario.workspace.delete_pod(name)
        assert scenario.prepared(uid), "the last pod still runs"
        scenario.workspace.delete_pod(names[-1])
        scenario.wait_until("nothing is left on the node", lambda: scenario.cdi_files() == before)
