import pytest

from claimwright.e2e.scenario import Scenario, assert_only_the_match_is_allocated


@pytest.mark.capability("002-11")
def test_selection_by_driver_version_compares_it_as_a_version(scenario: Scenario) -> None:
    scenario.apply("manifests.yaml")

    assert_only_the_match_is_allocated(scenario)
