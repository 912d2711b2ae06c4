import pytest

from claimwright.e2e.scenario import Scenario, assert_sees_exactly


@pytest.mark.capability("002-08")
def test_two_pods_that_share_a_claim_see_the_same_gpu(scenario: Scenario) -> None:
    scenario.apply("manifests.yaml")

    first, second = scenario.running("first"), scenario.running("second")

    allocated = scenario.allocated(first, "gpu")
    assert_sees_exactly(scenario.observe(first, "probe"), allocated)
    assert_sees_exactly(scenario.observe(second, "probe"), allocated)


@pytest.mark.capability("002-08")
def test_the_device_stays_prepared_until_the_last_pod_is_gone(scenario: Scenario) -> None:
    scenario.apply("manifests.yaml")
    scenario.running("first")
    scenario.running("second")
    uid = scenario.workspace.claim("shared").uid

    scenario.workspace.delete_pod("first")

    assert scenario.prepared(uid), "the second pod still runs"
    scenario.workspace.delete_pod("second")
    scenario.wait_until("the claim is released on the node", lambda: not scenario.prepared(uid))
