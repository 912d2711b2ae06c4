import psutil
import pytest

from claimwright.e2e.scenario import Scenario, assert_sees_exactly, gpu_pod

GATES = "MPSSupport=true"


def daemons(claim: str) -> set[int]:
    """The processes of the claim's daemon, by the mark in their environment; all nodes run on this machine."""
    found = set()
    for process in psutil.process_iter():
        try:
            mark = process.environ().get("CLAIMWRIGHT_MPS_GROUP", "")
        except psutil.Error:
            continue
        if f"/{claim}-" in mark:
            found.add(process.pid)
    return found


@pytest.mark.capability("004-08")
def test_a_pod_shares_by_mps_through_a_restart_of_the_driver(scenario: Scenario) -> None:
    with scenario.driver_set_to(FEATURE_GATES=GATES):
        scenario.apply("manifests.yaml")
        pod = scenario.running("pair")
        claim = scenario.workspace.claim_of(pod, "gpu")
        before = daemons(claim.uid)
        for container in ("one", "other"):
            assert_sees_exactly(scenario.observe(pod, container), scenario.uuids(claim))

        with scenario.driver_set_to(FEATURE_GATES=GATES):
            during = daemons(claim.uid)
            scenario.workspace.delete_pod("pair")
            scenario.wait_until("the claim is released on the node", lambda: not scenario.prepared(claim.uid))
            scenario.wait_until("its daemon is gone", lambda: not daemons(claim.uid))
            scenario.workspace.apply([gpu_pod("next", "half-the-threads")])
            scenario.running("next")
            scenario.workspace.delete_pod("next")

    assert before, "the claim has a daemon"
    assert during == before, "the next driver found it"
