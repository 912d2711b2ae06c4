import pytest

from claimwright.e2e.scenario import Scenario, assert_sees_exactly, gpu_pod

ROUNDS = 4


@pytest.mark.capability("000-02")
def test_pods_come_and_go_and_leave_nothing_on_the_node(scenario: Scenario) -> None:
    before = scenario.cdi_files()
    scenario.apply("manifests.yaml")

    for number in range(ROUNDS):
        name = f"pod-{number}"
        scenario.workspace.apply([gpu_pod(name, "one-gpu")])
        pod = scenario.running(name)
        assert_sees_exactly(scenario.observe(pod, "probe"), scenario.allocated(pod, "gpu"))
        scenario.workspace.delete_pod(name)

    scenario.wait_until("every claim is gone", lambda: not scenario.workspace.claims())
    assert scenario.cdi_files() == before
