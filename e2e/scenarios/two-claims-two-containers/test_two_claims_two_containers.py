import pytest

from claimwright.e2e.scenario import Scenario, assert_sees_exactly


@pytest.mark.capability("002-10")
def test_each_container_sees_the_gpu_of_its_own_claim_only(scenario: Scenario) -> None:
    scenario.apply("manifests.yaml")

    pod = scenario.running("pod")

    left, right = scenario.allocated(pod, "gpu-left"), scenario.allocated(pod, "gpu-right")
    assert set(left).isdisjoint(right)
    assert_sees_exactly(scenario.observe(pod, "left"), left)
    assert_sees_exactly(scenario.observe(pod, "right"), right)
    assert_sees_exactly(scenario.observe(pod, "both"), (*left, *right))
