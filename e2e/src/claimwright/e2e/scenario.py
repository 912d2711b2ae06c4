"""What a scenario says: apply, running, observe, allocated. One per test, in a namespace of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from claimwright.e2e import deadlines
from claimwright.e2e.objects import Claim, Pod
from claimwright.e2e.observation import Observation
from claimwright.e2e.pools import whole_slices
from claimwright.e2e.workspace import Workspace
from claimwright.e2e.world import World

PROBE_IMAGE = "claimwright.dev/probe:1"


class Scenario:
    """A test's view of a world: its own namespace, its own folder of manifests."""

    def __init__(self, world: World, workspace: Workspace, folder: Path) -> None:
        self.world = world
        self.workspace = workspace
        self._folder = folder

    @property
    def gpus(self) -> tuple[str, ...]:
        """The UUIDs of all GPUs that the driver publishes for the node.

        Waits for whole pools: half a minute after a driver was away the kubelet may remove its slices, also when it is
        back since, and the driver writes them again.
        """
        self.wait_until("the node's devices are published", lambda: bool(self._uuids()))
        return tuple(self._uuids().values())

    def apply(self, manifests: str) -> None:
        """Create the objects of a manifest file that lies beside the test."""
        self.workspace.apply(self._folder / manifests)

    def running(self, pod: str) -> Pod:
        """Wait until the pod runs."""
        return self.workspace.running(pod)

    def observe(self, pod: Pod, container: str) -> Observation:
        """Return what the probe in the container saw."""
        return self.world.observe(self.workspace, pod, container)

    def allocated(self, pod: Pod, claim: str) -> tuple[str, ...]:
        """Return the UUIDs of the devices that the scheduler allocated to one of the pod's claims."""
        return self.uuids(self.workspace.claim_of(pod, claim))

    def uuids(self, claim: Claim) -> tuple[str, ...]:
        """Return the UUIDs of the devices of an allocated claim."""
        assert claim.devices is not None, f"claim {claim.name} is not allocated"
        known = self._uuids()
        return tuple(known[device] for device in claim.devices)

    def prepared(self, claim_uid: str) -> bool:
        """Tell whether the node still holds anything for the claim, by the CDI specs on its disk."""
        return any(claim_uid in name for name in self.cdi_files())

    def cdi_files(self) -> frozenset[str]:
        """The names of the CDI specs on the node."""
        return frozenset(path.name for path in self.world.cdi_dir.glob("*") if path.is_file())

    def kill_and_restart_driver(self) -> None:
        """SIGKILL the driver, start it again and wait until it is registered and its slices are there."""
        self.world.driver.kill()
        self.world.driver.start()
        self.world.driver.wait_registered()

    @contextmanager
    def driver_set_to(self, **environment: str) -> Iterator[None]:
        """Run the driver with other settings, for example `FEATURE_GATES`, within this context."""
        self._restart_driver(environment)
        try:
            yield
        finally:
            self._restart_driver({})

    def _restart_driver(self, environment: Mapping[str, str]) -> None:
        self.world.driver.stop()
        self.world.driver.start(environment)
        self.world.driver.wait_registered()

    def devices(self) -> dict[str, dict[str, Any]]:
        """The devices that the driver publishes for the node, by name."""
        return {device["name"]: device for _, device in self._published()}

    def wait_until(self, what: str, look: Callable[[], bool], *, seconds: float = 30.0) -> None:
        """Wait with a deadline."""
        deadlines.wait_until(what, look, seconds=seconds)

    def _published(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield pool and device of each device of the node."""
        for found in whole_slices(self.world.kubernetes, f"spec.nodeName={self.world.node_name}"):
            for device in found["spec"].get("devices", ()):
                yield found["spec"]["pool"]["name"], device

    def _uuids(self) -> dict[tuple[str, str], str]:
        return {
            (pool, device["name"]): device["attributes"]["uuid"]["string"]
            for pool, device in self._published()
            if "uuid" in device["attributes"]  # a partition that is not made yet has none
        }


def gpu_pod(name: str, template: str) -> dict[str, Any]:
    """Compose a pod with one probe container and one claim made from a template."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 2,
            "containers": [
                {
                    "name": "probe",
                    "image": PROBE_IMAGE,
                    "imagePullPolicy": "Never",
                    "resources": {"claims": [{"name": "gpu"}]},
                }
            ],
            "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": template}],
        },
    }


def assert_sees_exactly(seen: Observation, uuids: Sequence[str]) -> None:
    """Assert that a container reaches these GPUs and no other, by NVML, by its nodes and by its device cgroup.

    The positive control of the isolation check is the allocated node itself: it must open (or answer ENXIO, as
    there is no kernel driver behind it), so that EPERM on the others is the cgroup's word and not a broken probe.
    """
    assert sorted(seen.uuids) == sorted(uuids), (
        f"NVML lists {seen.uuids}, allocated are {tuple(uuids)}: {seen}"
    )
    assert len(seen.nodes) == len(uuids), f"device nodes {dict(seen.nodes)} for {len(uuids)} allocated GPUs"
    assert set(seen.nodes.values()) <= {"ENXIO", "opened"}, (
        f"an allocated node does not open: {dict(seen.nodes)}"
    )
    assert set(seen.foreign.values()) <= {"EPERM"}, f"reachable without a claim: {dict(seen.foreign)}"


def assert_only_the_match_is_allocated(scenario: Scenario) -> None:
    """Assert that pod `matching` runs with what it sees, and that pod `not-matching` and its claim wait."""
    pod = scenario.running("matching")
    assert_sees_exactly(scenario.observe(pod, "probe"), scenario.allocated(pod, "gpu"))
    assert "cannot allocate all claims" in scenario.workspace.unschedulable("not-matching")
    waiting = scenario.workspace.pod("not-matching")
    assert scenario.workspace.claim_of(waiting, "gpu").devices is None
