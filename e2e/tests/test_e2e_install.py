"""The chart on a real cluster: the driver in a pod, every manifest of the tutorial, and nothing left afterwards."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from claimwright.e2e.deadlines import wait_until
from claimwright.e2e.helm import RELEASE, find_helm
from claimwright.e2e.installed import InstalledWorld, containers_of, installed_world, with_probes
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
    folder = Path(tempfile.mkdtemp(prefix="cw-i-"))
    try:
        with installed_world(folder, name=f"install-{uuid.uuid4().hex[:6]}", program=program) as world:
            yield world
            print(f"\nmeasured, in seconds: {json.dumps(world.took)}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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


# How many GPUs each container of a file reaches, by the kernel's own word.
@pytest.mark.parametrize(
    ("name", "reached"),
    [
        ("full-gpu", [1]),
        ("shared-claim", [1, 1]),
        ("time-slicing", [1, 1]),
        ("static-mig", [1]),
        ("dynamic-mig", [1, 1]),
        ("prioritized-list", [2]),
        ("extended-resource", [1]),
        ("admin-access", [7]),
        ("passthrough", [0]),
    ],
)
def test_each_manifest_of_the_tutorial_runs_and_reaches_its_gpus(
    workspace: Workspace, installed: InstalledWorld, name: str, reached: list[int]
) -> None:
    try:
        seen = seen_by_each(workspace, TUTORIAL / f"{name}.yaml")
    except TimeoutError as error:
        raise AssertionError(f"{error}\n{installed.plugin_log()}") from error

    print([(s.nodes, s.gpus) for s in seen], {str(x) for s in seen for x in s.foreign.values()})
    assert [len(each.nodes) for each in seen] == reached


def test_the_tutorial_is_run_whole() -> None:
    (mark,) = test_each_manifest_of_the_tutorial_runs_and_reaches_its_gpus.pytestmark  # type: ignore[attr-defined]
    assert {f"{name}.yaml" for name, _ in mark.args[1]} == {path.name for path in TUTORIAL.glob("*.yaml")}


def test_uninstalling_leaves_nothing_in_the_cluster_and_on_the_node(installed: InstalledWorld) -> None:
    assert installed.cluster_objects()

    installed.uninstall()

    assert installed.cluster_objects() == []
    assert installed.node_files() == []
    with installed.timed("slices gone"):  # the kubelet removes them half a minute after the plugin
        wait_until("the slices are gone", lambda: not installed.slice_names(), seconds=90)
    assert RELEASE
