import pytest

from claimwright.e2e.scenario import Scenario, assert_sees_exactly


@pytest.mark.capability("002-11")
def test_selection_by_driver_version_compares_it_as_a_version(scenario: Scenario) -> None:
    scenario.apply("manifests.yaml")

    pod = scenario.running("matching")

    assert_sees_exactly(scenario.observe(pod, "probe"), scenario.allocated(pod, "gpu"))
    assert "cannot allocate all claims" in scenario.workspace.unschedulable("not-matching")
    waiting = scenario.workspace.pod("not-matching")
    assert scenario.workspace.claim_of(waiting, "gpu").devices is None
