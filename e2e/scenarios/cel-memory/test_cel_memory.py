import pytest

from claimwright.e2e.scenario import Scenario, assert_only_the_match_is_allocated


@pytest.mark.capability("002-15")
def test_selection_by_memory_allocates_a_match_and_nothing_else(scenario: Scenario) -> None:
    scenario.apply("manifests.yaml")

    assert_only_the_match_is_allocated(scenario)
