import pytest

from claimwright.e2e.scenario import Scenario, assert_sees_exactly


@pytest.mark.capability("002-02")
def test_an_extended_resource_is_served_by_a_claim_and_seen_exactly(scenario: Scenario) -> None:
    scenario.apply("manifests.yaml")

    pod = scenario.running("pod")

    (claim,) = scenario.workspace.claims()
    assert claim.owners == (pod.uid,)
    assert_sees_exactly(scenario.observe(pod, "probe"), scenario.uuids(claim))
