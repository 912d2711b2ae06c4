import pytest

from claimwright.e2e.objects import Pod
from claimwright.e2e.scenario import Scenario, assert_sees_exactly


def pods(scenario: Scenario, app: str) -> list[Pod]:
    path = f"/api/v1/namespaces/{scenario.workspace.namespace}/pods"
    found = scenario.world.kubernetes.get(path, labelSelector=f"app={app}")["items"]
    return [Pod.from_object(pod) for pod in found if "deletionTimestamp" not in pod["metadata"]]


def two_running(scenario: Scenario) -> list[Pod]:
    scenario.wait_until("two pods of the Deployment", lambda: len(pods(scenario, "server")) == 2)
    return [scenario.running(pod.name) for pod in pods(scenario, "server")]


def gpu_of(scenario: Scenario, pod: Pod) -> str:
    """The one GPU that the pod has, by the allocation and by what its container sees."""
    (uuid,) = scenario.allocated(pod, "gpu")
    assert_sees_exactly(scenario.observe(pod, "probe"), (uuid,))
    return uuid


@pytest.mark.capability("002-07")
def test_each_replica_of_a_deployment_has_a_gpu_and_its_successor_a_claim_of_its_own(
    scenario: Scenario,
) -> None:
    scenario.apply("manifests.yaml")
    scenario.apply("deployment.yaml")
    first, second = two_running(scenario)
    assert gpu_of(scenario, first) != gpu_of(scenario, second)
    claims = {scenario.workspace.claim_of(pod, "gpu").uid for pod in (first, second)}

    scenario.workspace.delete_pod(first.name)
    replicas = two_running(scenario)

    (new,) = [pod for pod in replicas if pod.uid not in (first.uid, second.uid)]
    assert scenario.workspace.claim_of(new, "gpu").uid not in claims
    assert len({gpu_of(scenario, pod) for pod in replicas}) == 2
    deployment = f"/apis/apps/v1/namespaces/{scenario.workspace.namespace}/deployments/servers"
    scenario.world.kubernetes.patch(deployment, {"spec": {"replicas": 0}})
    scenario.wait_until("every claim is gone", lambda: not scenario.workspace.claims(), seconds=60)


@pytest.mark.substrate("real")
@pytest.mark.capability("002-07")
def test_the_pods_of_a_job_have_a_gpu_each_and_give_it_back_when_they_end(scenario: Scenario) -> None:
    before = scenario.cdi_files()
    scenario.apply("manifests.yaml")
    scenario.apply("job.yaml")
    path = f"/apis/batch/v1/namespaces/{scenario.workspace.namespace}/jobs/batch"

    scenario.wait_until(
        "four pods have ended well",
        lambda: scenario.world.kubernetes.get(path).get("status", {}).get("succeeded") == 4,
        seconds=60,
    )

    ended = pods(scenario, "batch")
    seen = [scenario.observe(pod, "probe") for pod in ended]
    assert [pod.phase for pod in ended] == ["Succeeded"] * 4
    for observation in seen:
        (uuid,) = observation.uuids
        assert uuid in scenario.gpus
        assert_sees_exactly(observation, (uuid,))
    scenario.wait_until("the node holds nothing for them", lambda: scenario.cdi_files() == before)
