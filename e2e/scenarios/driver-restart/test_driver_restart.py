import pytest

from claimwright.e2e.scenario import Scenario, assert_sees_exactly, gpu_pod


@pytest.mark.capability("000-24")
def test_a_killed_driver_comes_back_and_knows_its_prepared_claims(scenario: Scenario) -> None:
    scenario.apply("manifests.yaml")
    scenario.workspace.apply([gpu_pod("before", "one-gpu")])
    before = scenario.running("before")
    held = scenario.allocated(before, "gpu")
    claim = scenario.workspace.claim_of(before, "gpu").uid

    scenario.kill_and_restart_driver()

    scenario.workspace.apply([gpu_pod("after", "one-gpu")])
    after = scenario.running("after")
    assert scenario.workspace.pod("before").phase == "Running"
    assert scenario.prepared(claim)
    assert_sees_exactly(scenario.observe(after, "probe"), scenario.allocated(after, "gpu"))
    assert set(held).isdisjoint(scenario.allocated(after, "gpu"))
    scenario.workspace.delete_pod("before")
    scenario.wait_until("the old claim is released on the node", lambda: not scenario.prepared(claim))
