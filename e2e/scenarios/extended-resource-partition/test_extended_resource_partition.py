from pathlib import Path

import pytest
import yaml

from claimwright.e2e.scenario import Scenario


@pytest.mark.capability("000-06")
@pytest.mark.capability("002-02")
def test_partitions_are_served_under_the_device_plugins_name_and_go_with_the_pod(scenario: Scenario) -> None:
    device_class, pod_manifest = yaml.safe_load_all(Path(__file__).with_name("manifests.yaml").read_text())
    with scenario.driver_set_to(FEATURE_GATES="DynamicMIG=true"):
        scenario.wait_until(
            "partitions are offered", lambda: any("-mig-1g10gb" in name for name in scenario.devices())
        )
        scenario.world.kubernetes.ensure(device_class)
        scenario.workspace.apply([pod_manifest])

        pod = scenario.running("pod")

        (claim,) = scenario.workspace.claims()
        devices = [device for _, device in claim.devices or ()]
        seen = scenario.observe(pod, "probe")
        parents = {scenario.devices()[name]["attributes"]["parentUUID"]["string"] for name in devices}
        assert claim.owners == (pod.uid,)
        assert len(devices) == len(seen.parts) == 2
        assert all("-mig-1g10gb-" in name for name in devices)
        assert set(seen.uuids) == parents
        assert len([path for path in seen.special if "nvidia-cap" in path]) == 4
        assert set(seen.foreign.values()) <= {"EPERM"}
        scenario.workspace.delete_pod("pod")
        scenario.wait_until("nothing is left on the node", lambda: not scenario.prepared(claim.uid))
        whole = {uuid for uuid, gpu in by_uuid(scenario).items() if not gpu["mig"]["current"]}
        assert parents <= whole
    scenario.world.kubernetes.delete("/apis/resource.k8s.io/v1/deviceclasses/mig-1g.10gb")


def by_uuid(scenario: Scenario) -> dict[str, dict[str, dict[str, bool]]]:
    return {gpu["uuid"]: gpu for gpu in scenario.world.emulated.call("snapshot")["gpus"]}
