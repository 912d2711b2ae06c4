import pytest

from claimwright.e2e.scenario import Scenario, assert_sees_exactly, gpu_pod


@pytest.mark.capability("002-07")
@pytest.mark.capability("002-21")
def test_one_pod_too_many_waits_and_then_runs_on_the_freed_gpu(scenario: Scenario) -> None:
    names = [f"pod-{number}" for number in range(len(scenario.gpus))]
    scenario.apply("manifests.yaml")
    scenario.workspace.apply(gpu_pod(name, "one-gpu") for name in names)
    pods = [scenario.running(name) for name in names]
    held = [scenario.observe(pod, "probe").uuids for pod in pods]
    assert sorted(held) == sorted((uuid,) for uuid in scenario.gpus), "every GPU is held, each by one pod"

    scenario.workspace.apply([gpu_pod("one-too-many", "one-gpu")])

    assert "cannot allocate all claims" in scenario.workspace.unschedulable("one-too-many")
    scenario.workspace.delete_pod(names[0])
    late = scenario.running("one-too-many")
    assert_sees_exactly(scenario.observe(late, "probe"), held[0])
