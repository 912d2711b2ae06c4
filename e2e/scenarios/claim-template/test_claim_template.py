import pytest

from claimwright.e2e.scenario import Scenario, assert_sees_exactly


@pytest.mark.capability("001-01")
@pytest.mark.capability("002-20")
@pytest.mark.capability("002-24")
def test_a_pod_with_a_claim_template_sees_exactly_its_allocated_gpu(scenario: Scenario) -> None:
    scenario.apply("manifests.yaml")

    pod = scenario.running("pod")

    assert_sees_exactly(scenario.observe(pod, "probe"), scenario.allocated(pod, "gpu"))


@pytest.mark.capability("002-20")
def test_the_generated_claim_belongs_to_its_pod_and_goes_with_it(scenario: Scenario) -> None:
    scenario.apply("manifests.yaml")
    pod = scenario.running("pod")
    assert scenario.workspace.claim_of(pod, "gpu").owners == (pod.uid,)

    scenario.workspace.delete_pod("pod")

    scenario.wait_until("the claim is gone", lambda: not scenario.workspace.claims())
