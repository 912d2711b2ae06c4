"""The chart on a real cluster: the driver in a pod, every manifest of the tutorial, and nothing left afterwards.

On another Kubernetes: `CLAIMWRIGHT_KUBERNETES=1.34 pytest e2e/tests/test_e2e_install.py`.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import yaml

from claimwright.e2e.deadlines import wait_until
from claimwright.e2e.helm import find_helm
from claimwright.e2e.installed import DRIVER, InstalledWorld, containers_of, installed_world, with_probes
from claimwright.e2e.kubernetes_door import Refused
from claimwright.e2e.observation import Observation
from claimwright.e2e.workspace import Workspace

TUTORIAL = Path(__file__).parents[2] / "docs/tutorial"
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="real nodes need root: namespaces, mounts and cgroups"),
]


@pytest.fixture(scope="module")
def world() -> Iterator[InstalledWorld]:
    if (program := find_helm()) is None:
        pytest.skip("no helm on PATH or in the cache: claimwright cluster build --program helm")
    with installed_world(
        "install", program=program, minor=os.environ.get("CLAIMWRIGHT_KUBERNETES", "")
    ) as world:
        yield world
        print(f"\nmeasured, in seconds: {json.dumps(world.took)}")


@pytest.fixture
def installed(world: InstalledWorld) -> InstalledWorld:
    world.install()
    return world


@pytest.fixture
def workspace(request: pytest.FixtureRequest, installed: InstalledWorld) -> Generator[Workspace, None, None]:
    labels = {"resource.kubernetes.io/admin-access": "true"} if "admin" in request.node.name else {}
    workspace = Workspace(installed.kubernetes, f"tutorial-{uuid.uuid4().hex[:6]}", labels=labels)
    yield workspace
    workspace.close()


def seen_by_each(workspace: Workspace, manifests: Path) -> list[Observation]:
    """Run a file of the tutorial and return what each of its containers saw, in the order written."""
    objects = with_probes(manifests)
    workspace.apply(objects)
    return [
        Observation.parse(workspace.wait_for_logs(workspace.running(pod).name, container))
        for pod, container in containers_of(objects)
    ]


def allocated(workspace: Workspace, world: InstalledWorld) -> dict[str, str]:
    """The devices of all claims of a workspace: type by the UUID of the GPU that each is, or is a part of."""
    names = [device for claim in workspace.claims() for _, device in claim.devices or ()]
    attributes = [world.devices()[name]["attributes"] for name in names]
    return {
        (each.get("parentUUID") or each.get("uuid") or each["resource.kubernetes.io/pciBusID"])[
            "string"
        ]: each["type"]["string"]
        for each in attributes
    }


# The kind of device of each file, and how many GPUs each of its containers reaches by the kernel's own word.
@pytest.mark.capability("002-04")
@pytest.mark.capability("002-16")
@pytest.mark.capability("002-19")
@pytest.mark.capability("002-30")
@pytest.mark.capability("003-12")
@pytest.mark.capability("004-03")
@pytest.mark.capability("000-01")
@pytest.mark.parametrize(
    ("name", "kind", "reached"),
    [
        ("full-gpu", "gpu", [1]),
        ("shared-claim", "gpu", [1, 1]),
        ("time-slicing", "gpu", [1, 1]),
        ("mps", "gpu", [1, 1]),
        ("static-mig", "mig", [1]),
        ("dynamic-mig", "mig", [1, 1]),
        ("prioritized-list", "gpu", [2]),
        ("extended-resource", "gpu", [1]),
        ("admin-access", "gpu", [7]),
        ("passthrough", "vfio", [0]),
        ("vgpu", "vgpu", [0]),
    ],
)
def test_each_manifest_of_the_tutorial_runs_and_reaches_its_gpus(
    workspace: Workspace, installed: InstalledWorld, name: str, kind: str, reached: list[int]
) -> None:
    try:
        seen = seen_by_each(workspace, TUTORIAL / f"{name}.yaml")
    except TimeoutError as error:
        raise AssertionError(f"{error}\n{installed.logs('kubelet-plugin', 'gpus')}") from error

    given = allocated(workspace, installed)
    assert set(given.values()) == {kind}
    assert [len(each.nodes) for each in seen] == reached
    assert {uuid for each in seen for uuid in each.uuids} == (set(given) if any(reached) else set())
    assert {outcome for each in seen for outcome in each.foreign.values()} == {"EPERM"}


def test_the_tutorial_is_run_whole() -> None:
    marks = test_each_manifest_of_the_tutorial_runs_and_reaches_its_gpus.pytestmark  # type: ignore[attr-defined]
    (table,) = (mark.args[1] for mark in marks if mark.name == "parametrize")
    elsewhere = {"compute-domain.yaml"}  # takes a rack: test_e2e_compute_domain_cluster.py
    assert {f"{name}.yaml" for name, *_ in table} | elsewhere == {
        path.name for path in TUTORIAL.glob("*.yaml")
    }


def test_a_bad_config_is_refused_where_it_is_written(workspace: Workspace) -> None:
    text = (TUTORIAL / "time-slicing.yaml").read_text().replace("interval: Long", "interval: Longest")
    template = next(item for item in yaml.safe_load_all(text) if item["kind"] == "ResourceClaimTemplate")

    with pytest.raises(Refused, match="Longest"):
        workspace.apply([template])


# Daemons of MPS end with the old pod where the node has no cgroup 2, and are started again: their claim is not here.
HELD_OVER_AN_UPDATE = ("full-gpu", "dynamic-mig", "passthrough", "vgpu")


@pytest.mark.capability("000-25")
def test_an_update_of_the_chart_and_the_way_back_leave_running_pods_what_they_have(
    workspace: Workspace, installed: InstalledWorld
) -> None:
    for name in HELD_OVER_AN_UPDATE:
        seen_by_each(workspace, TUTORIAL / f"{name}.yaml")
    pods, traces, devices = workspace.pods(), installed.traces(), installed.devices()
    plugins = [installed.plugin_pods()]
    for verbosity in ("4", "0"):
        installed.install({"logVerbosity": verbosity})
        wait_until("one plugin again", lambda: len(installed.plugin_pods()) == 1, seconds=90)
        plugins.append(installed.plugin_pods())
        assert installed.traces() == traces
        assert installed.devices() == devices
        assert workspace.pods() == pods, "the same pods, none restarted"
    for pod in pods:
        workspace.delete_pod(pod, grace_seconds=1)

    assert len(traces["journal"]) == len(pods) == len(HELD_OVER_AN_UPDATE)
    assert len({uid for each in plugins for uid in each}) == len(plugins), "another plugin each time"
    wait_until("nothing of the claims", lambda: not any(installed.traces().values()), seconds=60)


@pytest.mark.capability("003-28")
def test_partitions_on_demand_are_switched_on_while_a_pod_has_an_administrators_one(
    workspace: Workspace, installed: InstalledWorld
) -> None:
    installed.install({"featureGates.DynamicMIG": "false"})
    wait_until("partitions that exist, and no others", lambda: len(partitions(installed)) == 1, seconds=60)
    static = seen_by_each(workspace, TUTORIAL / "static-mig.yaml")
    before = workspace.pods()

    installed.install({"featureGates.DynamicMIG": "true"})
    wait_until("partitions on demand", lambda: len(partitions(installed)) > 1, seconds=60)
    dynamic = seen_by_each(workspace, TUTORIAL / "dynamic-mig.yaml")

    assert [len(each.uuids) for each in (*static, *dynamic)] == [1, 1, 1]
    assert len({uuid for each in (*static, *dynamic) for uuid in each.uuids}) == 2, "two GPUs"
    assert workspace.pods()["static-mig"] == before["static-mig"]


def partitions(installed: InstalledWorld) -> list[str]:
    """The names of all partitions that are offered."""
    return [
        name for name, each in installed.devices().items() if each["attributes"]["type"]["string"] == "mig"
    ]


@pytest.mark.capability("002-22")
def test_an_allocation_that_another_scheduler_wrote_is_served(
    workspace: Workspace, installed: InstalledWorld
) -> None:
    *_, manifest = with_probes(TUTORIAL / "full-gpu.yaml")
    manifest["spec"] |= {
        "schedulerName": "somebody-else",
        "resourceClaims": [{"name": "gpu", "resourceClaimName": "by-hand"}],
    }
    request = {"name": "gpu", "exactly": {"deviceClassName": "gpu.nvidia.com"}}
    claim = {"metadata": {"name": "by-hand"}, "spec": {"devices": {"requests": [request]}}}
    workspace.apply([{"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", **claim}, manifest])
    pod = workspace.pod("full-gpu")
    (pool, device) = next(
        (each["spec"]["pool"]["name"], found["name"])
        for each in installed.whole_slices()
        for found in each["spec"].get("devices", ())
        if found["attributes"]["type"]["string"] == "gpu"
    )
    result = {"request": "gpu", "driver": "gpu.nvidia.com", "pool": pool, "device": device}
    workspace.allocate("by-hand", [result], reserved_for=pod)
    workspace.bind(pod, installed.node.name)

    workspace.running(pod.name)
    seen = Observation.parse(workspace.wait_for_logs(pod.name, "main"))

    assert seen.uuids == (installed.devices()[device]["attributes"]["uuid"]["string"],)
    assert len(seen.nodes) == 1


@pytest.mark.capability("001-07")
def test_uninstalling_leaves_nothing_in_the_cluster_and_on_the_node(installed: InstalledWorld) -> None:
    assert installed.cluster_objects()

    installed.uninstall()

    assert installed.cluster_objects() == []
    assert installed.node_files() == []
    with installed.timed("slices gone"):  # the kubelet removes them half a minute after the plugin
        wait_until("the slices are gone", lambda: not installed.slices(DRIVER), seconds=90)
