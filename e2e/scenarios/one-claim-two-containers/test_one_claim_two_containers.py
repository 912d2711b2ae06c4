import pytest

from claimwright.e2e.scenario import Scenario, assert_sees_exactly


@pytest.mark.capability("002-09")
def test_two_containers_share_the_claim_of_their_pod_and_a_third_sees_nothing(scenario: Scenario) -> None:
    scenario.apply("manifests.yaml")

    pod = scenario.running("pod")

    allocated = scenario.allocated(pod, "gpu")
    assert_sees_exactly(scenario.observe(pod, "left"), allocated)
    assert_sees_exactly(scenario.observe(pod, "right"), allocated)
    assert_sees_exactly(scenario.observe(pod, "without"), ())
