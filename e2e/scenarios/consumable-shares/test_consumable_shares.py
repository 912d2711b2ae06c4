import pytest

from claimwright.e2e.scenario import Scenario, assert_sees_exactly, gpu_pod

GATES = "ConsumableShares=true,TimeSlicingSettings=true"


def shared(scenario: Scenario) -> bool:
    return bool(scenario.devices().get("gpu-0", {}).get("allowMultipleAllocations"))


@pytest.mark.capability("002-08")
@pytest.mark.capability("004-05")
def test_four_claims_hold_one_gpu_and_the_fifth_waits_for_a_share(scenario: Scenario) -> None:
    names = [f"sharer-{number}" for number in range(4)]
    with scenario.driver_set_to(FEATURE_GATES=GATES, CONSUMABLE_SHARES="4"):
        scenario.wait_until("the devices are published as shared", lambda: shared(scenario))
        scenario.apply("manifests.yaml")
        scenario.workspace.apply(gpu_pod(name, "one-share") for name in names)
        pods = [scenario.running(name) for name in names]

        seen = [scenario.observe(pod, "probe") for pod in pods]
        claims = [scenario.workspace.claim_of(pod, "gpu") for pod in pods]
        for observation, claim in zip(seen, claims, strict=True):
            assert_sees_exactly(observation, scenario.uuids(claim))
        assert len({scenario.uuids(claim) for claim in claims}) == 1, "all four on one GPU"
        assert all(scenario.prepared(claim.uid) for claim in claims)

        scenario.workspace.apply([gpu_pod("one-too-many", "one-share")])
        assert "cannot allocate all claims" in scenario.workspace.unschedulable("one-too-many")
        scenario.workspace.delete_pod(names[0])
        scenario.running("one-too-many")
        for name in (*names[1:], "one-too-many"):
            scenario.workspace.delete_pod(name)
        scenario.wait_until(
            "every share is released", lambda: not any(scenario.prepared(claim.uid) for claim in claims)
        )


@pytest.mark.capability("004-05")
def test_memory_is_divided_by_amounts(scenario: Scenario) -> None:
    with scenario.driver_set_to(FEATURE_GATES=GATES, CONSUMABLE_SHARES="memory"):
        scenario.wait_until("the devices are published as shared", lambda: shared(scenario))
        scenario.apply("manifests.yaml")
        scenario.workspace.apply([gpu_pod("first", "half-the-memory")])
        scenario.running("first")

        scenario.workspace.apply([gpu_pod("second", "half-the-memory")])

        assert "cannot allocate all claims" in scenario.workspace.unschedulable("second")
        scenario.workspace.delete_pod("first")
        scenario.running("second")
        scenario.workspace.delete_pod("second")
