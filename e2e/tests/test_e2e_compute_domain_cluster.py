"""ComputeDomains on a real cluster over an emulated rack: from a user's manifest to channels, and back to nothing.

Two nodes are trays of one GB200 rack, the third has a GPU and no fabric; plugin, controller and daemons run in pods
from the chart, and nvidia-imex of one pod speaks to that of the other over the cluster's network.

On another Kubernetes: `CLAIMWRIGHT_KUBERNETES=1.34 pytest e2e/tests/test_e2e_compute_domain_cluster.py`.
"""

from __future__ import annotations

import copy
import json
import os
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from claimwright.driver.computedomain.resources import (
    CHANNELS,
    DOMAIN,
    ComputeDomain,
    daemon_name,
)
from claimwright.e2e.deadlines import wait_until
from claimwright.e2e.helm import RELEASE, find_helm
from claimwright.e2e.installed import with_probes
from claimwright.e2e.installed_rack import DRIVER, RackWorld, installed_rack
from claimwright.e2e.kubernetes_door import Missing
from claimwright.e2e.observation import Observation
from claimwright.e2e.workspace import Workspace

TUTORIAL = Path(__file__).parents[2] / "docs/tutorial/compute-domain.yaml"
CHANNEL = "/dev/nvidia-caps-imex-channels/channel0"
CLIQUE_LABEL = "nvidia.com/gpu.clique"
SECONDS = 90.0
# A claim that is refused while its device is on its way back is asked for again after a minute or more.
REPLACED_SECONDS = 45.0
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="real nodes need root: namespaces, mounts and cgroups"),
]


class Training:
    """The tutorial's job and its domain, which are there whenever a test begins that asks for them."""

    def __init__(self, world: RackWorld) -> None:
        self.world = world
        self._workspace: Workspace | None = None

    @property
    def workspace(self) -> Workspace:
        assert self._workspace is not None, "the job is not there"
        return self._workspace

    def ensure(self) -> None:
        if self._workspace is not None:
            return
        self._workspace = Workspace(self.world.kubernetes, f"training-{uuid.uuid4().hex[:6]}")
        self.workspace.apply(with_probes(TUTORIAL))
        wait_until("both pods of the job", lambda: len(self.pods()) == 2, seconds=SECONDS)
        with self.world.timed("domain running on two nodes"):
            for name in self.pods():
                self.workspace.running(name, seconds=SECONDS)

    def remove(self) -> None:
        """Delete the workload, then the domain, as its user does, and wait until they are gone."""
        if self._workspace is None:
            return
        job = f"/apis/batch/v1/namespaces/{self.workspace.namespace}/jobs/training"
        self.world.kubernetes.delete(job)
        wait_until("no pod of the job", lambda: not self.pods(), seconds=SECONDS, seen=self.world.story)
        self.world.kubernetes.delete(self._path())
        wait_until("the domain is gone", self._is_gone, seconds=SECONDS, seen=lambda: told(self.world))
        self.workspace.close()
        self._workspace = None

    def pods(self) -> dict[str, dict[str, Any]]:
        found = self.world.kubernetes.get(f"/api/v1/namespaces/{self.workspace.namespace}/pods")["items"]
        return {pod["metadata"]["name"]: pod for pod in found}

    def domain(self) -> ComputeDomain:
        return ComputeDomain.from_object(self.world.kubernetes.get(self._path()))

    def _is_gone(self) -> bool:
        try:
            self.domain()
        except Missing:
            return True
        return False

    def daemons(self) -> dict[str, str]:
        """The ready daemon pods of the domain, by node."""
        return {
            pod["spec"]["nodeName"]: pod["metadata"]["name"]
            for pod in self.world.pods(daemon_name(self.domain().uid))
            if "deletionTimestamp" not in pod["metadata"]
            and all(each["ready"] for each in pod["status"].get("containerStatuses", [{"ready": False}]))
        }

    def links(self) -> dict[tuple[str, str], str]:
        """What each node's nvidia-imex says of its connection to each node of the domain."""
        place = {f"compute-domain-daemon-{m.index:04d}": m.node for m in self.domain().members}
        found: dict[tuple[str, str], str] = {}
        for node, pod in self.daemons().items():
            said = self.world.run_in(pod, "nvidia-imex-ctl", "-c", "/imexd/imexd.cfg", "-N", "-j")
            if said.returncode != 0:
                continue
            for row in json.loads(said.stdout)["nodes"].values():
                if place.get(row["host"]) == node:
                    found |= {
                        (node, place[each["host"]]): each["status"]
                        for each in row["connections"].values()
                        if each["host"] in place
                    }
        return found

    def wait_whole(self) -> None:
        """Wait until the status says Ready, with two nodes whose nvidia-imex reach each other."""
        trays = set(self.world.trays)
        wanted = {(one, other): "CONNECTED" for one in trays for other in trays}
        wait_until(
            "a domain of two nodes that reach each other",
            lambda: (
                self.domain().ready
                and {member.node for member in self.domain().members if member.ready} == trays
                and self.links() == wanted
            ),
            seconds=SECONDS,
            seen=lambda: (self.domain(), self.links(), self.world.story()),
        )

    def _path(self) -> str:
        return (
            f"/apis/resource.nvidia.com/v1beta1/namespaces/{self.workspace.namespace}/computedomains/training"
        )


@pytest.fixture(scope="module")
def world() -> Iterator[RackWorld]:
    if (program := find_helm()) is None:
        pytest.skip("no helm on PATH or in the cache: claimwright cluster build --program helm")
    minor = os.environ.get("CLAIMWRIGHT_KUBERNETES", "")
    with installed_rack("rack", program=program, minor=minor) as world:
        yield world
        print(f"\nmeasured, in seconds: {json.dumps(world.took)}")


@pytest.fixture
def installed(world: RackWorld) -> RackWorld:
    world.install()
    return world


@pytest.fixture(scope="module")
def kept(world: RackWorld) -> Iterator[Training]:
    world.install()
    training = Training(world)
    yield training
    training.remove()


@pytest.fixture
def training(installed: RackWorld, kept: Training) -> Training:
    try:
        kept.ensure()
    except AssertionError as error:
        raise AssertionError(f"{error}\n{told(installed)}") from error
    return kept


@pytest.fixture
def workspace(installed: RackWorld) -> Iterator[Workspace]:
    workspace = Workspace(installed.kubernetes, f"other-{uuid.uuid4().hex[:6]}")
    yield workspace
    workspace.close()


def told(world: RackWorld) -> str:
    """What the driver's processes say of themselves: for whoever reads why a test failed."""
    logs = [world.logs("kubelet-plugin", "compute-domains"), world.logs("controller", "compute-domain")]
    logs.append(world.logs("computedomain-daemon", "compute-domain-daemon"))
    return "\n--\n".join((world.story(), *logs))


def channel_pod(name: str, node: str, template: str) -> dict[str, Any]:
    """A pod on one node with a channel claim of a template."""
    container = {
        "name": "main",
        "image": "any",
        "command": [],
        "resources": {"claims": [{"name": "channel"}]},
    }
    spec = {
        "nodeSelector": {"kubernetes.io/hostname": node},
        "containers": [container],
        "resourceClaims": [{"name": "channel", "resourceClaimTemplateName": template}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def domain_of(name: str) -> dict[str, Any]:
    spec = {"channel": {"resourceClaimTemplate": {"name": f"{name}-channel"}}}
    return {
        "apiVersion": "resource.nvidia.com/v1beta1",
        "kind": "ComputeDomain",
        "metadata": {"name": name},
        "spec": spec,
    }


def probed(tmp_path: Path, *objects: dict[str, Any]) -> list[dict[str, Any]]:
    """These objects with the probe as what runs in their containers."""
    path = tmp_path / "manifests.yaml"
    path.write_text(yaml.safe_dump_all(objects))
    return with_probes(path)


def refusal(workspace: Workspace, pod: str, *words: str) -> str:
    """Wait until the kubelet's event says of a pod all these words, and return the pod's story."""

    def look() -> str | None:
        story = workspace.story(pod)
        return story if all(word in story for word in words) else None

    return wait_until(f"pod {pod} is refused", look, seconds=SECONDS, seen=lambda: workspace.story(pod))


@pytest.mark.capability("002-25")
@pytest.mark.capability("002-27")
@pytest.mark.capability("003-23")
def test_a_job_on_two_nodes_of_a_rack_has_one_domain_and_its_channel(training: Training) -> None:
    training.wait_whole()
    seen = {
        pod["spec"]["nodeName"]: Observation.parse(training.workspace.wait_for_logs(name, "main"))
        for name, pod in training.pods().items()
    }
    world, domain = training.world, training.domain()

    assert set(seen) == set(world.trays), "the clique's two nodes, not the third"
    assert [each.special for each in seen.values()] == [{CHANNEL: "ENXIO"}] * 2
    assert {outcome for each in seen.values() for outcome in each.strangers} == {"EPERM"}
    assert [len(each.gpus) for each in seen.values()] == [4, 4]
    assert {member.clique for member in domain.members} == {world.clique}
    assert len({member.index for member in domain.members}) == 2
    assert {world.labels(node)[CLIQUE_LABEL] for node in world.trays} == {world.clique}
    assert CLIQUE_LABEL not in world.labels(world.alone)
    for pod in training.daemons().values():
        assert world.run_in(pod, "nvidia-imex-ctl", "-c", "/imexd/imexd.cfg", "-q").stdout == "READY\n"


@pytest.mark.capability("003-06")
@pytest.mark.capability("000-20")
def test_a_pod_of_another_namespace_gets_no_channel_of_the_domain(
    training: Training, workspace: Workspace, tmp_path: Path
) -> None:
    """Whoever copies the template of a domain has its uid, and no right to it."""
    namespace, name = training.workspace.namespace, "training-channel"
    path = f"/apis/resource.k8s.io/v1/namespaces/{namespace}/resourceclaimtemplates/{name}"
    stolen = copy.deepcopy(training.world.kubernetes.get(path))
    template = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate", "spec": stolen["spec"]}
    thief = channel_pod("thief", training.world.alone, name)
    workspace.apply(probed(tmp_path, {**template, "metadata": {"name": name}}, thief))

    story = refusal(workspace, "thief", "namespace", namespace)

    assert "FailedPrepareDynamicResources" in story
    assert DOMAIN not in training.world.labels(training.world.alone)
    training.wait_whole()


def test_a_second_domain_finds_no_place_on_a_node_that_is_taken(
    training: Training, workspace: Workspace, tmp_path: Path
) -> None:
    """Quirk 19: nvidia-imex knows one domain, so a node has one channel, and the scheduler sees it."""
    second = channel_pod("second", training.world.trays[0], "second-channel")
    workspace.apply(probed(tmp_path, domain_of("second"), second))

    message = workspace.unschedulable("second")

    assert "cannot allocate all claims" in message
    assert training.domain().ready


def test_a_domain_gives_all_its_channels_where_they_are_asked_for(
    installed: RackWorld, kept: Training, workspace: Workspace, tmp_path: Path
) -> None:
    kept.remove()
    domain = domain_of("every")
    domain["spec"]["channel"]["allocationMode"] = "All"
    workspace.apply(probed(tmp_path, domain, channel_pod("every", installed.trays[0], "every-channel")))

    workspace.running("every", seconds=SECONDS)
    seen = Observation.parse(workspace.wait_for_logs("every", "main"))

    channels = {path: said for path, said in seen.special.items() if "imex-channels" in path}
    assert channels == {CHANNEL[:-1] + str(number): "ENXIO" for number in range(CHANNELS)}
    workspace.delete_pod("every", grace_seconds=1)
    path = f"/apis/resource.nvidia.com/v1beta1/namespaces/{workspace.namespace}/computedomains/every"
    installed.kubernetes.delete(path)
    wait_until("no label", lambda: DOMAIN not in installed.labels(installed.trays[0]), seconds=SECONDS)


def test_on_a_node_without_a_fabric_a_claim_works_and_brings_no_channel(
    installed: RackWorld, workspace: Workspace, tmp_path: Path
) -> None:
    workspace.apply(
        probed(tmp_path, domain_of("single"), channel_pod("single", installed.alone, "single-channel"))
    )
    try:
        pod = workspace.running("single", seconds=SECONDS)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{told(installed)}") from error
    seen = Observation.parse(workspace.wait_for_logs("single", "main"))
    path = f"/apis/resource.nvidia.com/v1beta1/namespaces/{workspace.namespace}/computedomains/single"
    domain = ComputeDomain.from_object(installed.kubernetes.get(path))

    assert dict(seen.special) == {}
    assert [(member.node, member.clique, member.ready) for member in domain.members] == [
        (installed.alone, "", True)
    ]
    workspace.delete_pod(pod.name, grace_seconds=1)
    installed.kubernetes.delete(path)
    wait_until("no label", lambda: DOMAIN not in installed.labels(installed.alone), seconds=SECONDS)


def test_a_signal_has_each_process_write_its_stacks(training: Training) -> None:
    """Where the community driver's support scripts look."""
    world = training.world
    parts = [world.pods(each)[0]["metadata"]["name"] for each in ("kubelet-plugin", "controller")]
    for pod in (*parts, *training.daemons().values()):
        world.signal(pod, "SIGUSR2")
        wait_until(f"the stacks of {pod}", partial(has_stacks, world, pod), seconds=SECONDS)


def has_stacks(world: RackWorld, pod: str) -> bool:
    program = "print(open('/tmp/goroutine-stacks.dump').read())"
    return "main.RunPlugin" in world.run_in(pod, "python3", "-c", program).stdout


@pytest.mark.parametrize("lost", [1, 2])
def test_lost_daemons_come_back_and_the_workload_goes_on(training: Training, lost: int) -> None:
    training.wait_whole()
    world, before, daemons = training.world, training.workspace.pods(), training.daemons()
    gone = dict(sorted(daemons.items())[:lost])
    for pod in gone.values():
        delete_by_force(world, RELEASE, pod)

    with world.timed(f"{lost} daemons replaced"):
        wait_until(
            "other daemons",
            lambda: (
                (now := training.daemons()).keys() == daemons.keys()
                and all(now[node] != pod for node, pod in gone.items())
            ),
            seconds=REPLACED_SECONDS,
            seen=lambda: told(world),
        )

    training.wait_whole()
    assert training.workspace.pods() == before, "the same pods, none restarted"


def test_an_nvidia_imex_that_is_killed_is_started_again(training: Training) -> None:
    training.wait_whole()
    world, before, daemons = training.world, training.workspace.pods(), training.daemons()
    pod = next(iter(daemons.values()))
    (imex,) = world.children_in(pod, "nvidia-imex")
    world.kill_in(pod, imex)

    wait_until(
        "another nvidia-imex",
        lambda: world.children_in(pod, "nvidia-imex") not in ([], [imex]),
        seconds=SECONDS,
        seen=lambda: told(world),
    )

    training.wait_whole()
    assert training.workspace.pods() == before
    assert training.daemons() == daemons


def test_a_worker_that_is_lost_is_replaced_in_the_same_domain(training: Training) -> None:
    training.wait_whole()
    world, uid, before = training.world, training.domain().uid, set(training.pods())
    world.signal(min(before), "SIGKILL", namespace=training.workspace.namespace)
    wait_until("another worker", lambda: len(set(training.pods()) - before) == 1, seconds=SECONDS)
    (name,) = set(training.pods()) - before

    with world.timed("worker replaced"):
        training.workspace.running(name, seconds=REPLACED_SECONDS)

    seen = Observation.parse(training.workspace.wait_for_logs(name, "main"))
    assert dict(seen.special) == {CHANNEL: "ENXIO"}
    assert training.domain().uid == uid
    training.wait_whole()


def delete_by_force(world: RackWorld, namespace: str, pod: str) -> None:
    world.kubernetes.delete(f"/api/v1/namespaces/{namespace}/pods/{pod}", grace_seconds=0)


def test_an_update_of_the_chart_leaves_a_running_domain_what_it_has(training: Training) -> None:
    training.wait_whole()
    world, before, daemons = training.world, training.workspace.pods(), training.daemons()
    plugins = {pod["metadata"]["uid"] for pod in world.pods("kubelet-plugin")}

    world.install({"logVerbosity": "5"})
    wait_until(
        "the old plugins are gone",
        lambda: not plugins & {pod["metadata"]["uid"] for pod in world.pods("kubelet-plugin")},
        seconds=SECONDS,
        seen=world.story,
    )

    training.wait_whole()
    assert training.workspace.pods() == before
    assert training.daemons() == daemons
    assert {world.labels(node).get(CLIQUE_LABEL) for node in world.trays} == {world.clique}


def test_of_a_deleted_domain_nothing_is_left(training: Training) -> None:
    world, uid = training.world, training.domain().uid
    assert all(world.labels(node)[DOMAIN] == uid for node in world.trays)
    assert any(uid in name for name in traces(world, uid))

    with world.timed("domain deleted"):
        training.remove()

    wait_until(
        "nothing of it", lambda: not traces(world, uid), seconds=SECONDS, seen=lambda: traces(world, uid)
    )


def traces(world: RackWorld, uid: str) -> list[str]:
    """Everything in the cluster and on its nodes that is a domain's."""
    paths = (
        "/apis/apps/v1/daemonsets", "/apis/resource.k8s.io/v1/resourceclaimtemplates",
        "/apis/resource.nvidia.com/v1beta1/computedomaincliques", "/api/v1/nodes", "/api/v1/pods",
    )  # fmt: skip
    objects = [
        f"{path}/{item['metadata']['name']}"
        for path in paths
        for item in world.kubernetes.get(path, labelSelector=f"{DOMAIN}={uid}")["items"]
    ]
    files = [f"{node}: {name}" for node in world.nodes for name in world.node_files(node) if uid in name]
    claims = [
        f"{node}: {name}" for node in world.trays for name in world.node_files(node) if "claim_" in name
    ]
    return [*objects, *files, *claims]


HOSTS = {
    "resources.computeDomains.imex.mode": "hostManaged",
    "featureGates.HostManagedIMEXDaemon": "true",
}


def test_hosts_that_keep_their_own_imex_serve_a_domain_without_daemons(
    installed: RackWorld, kept: Training
) -> None:
    kept.remove()
    installed.install(HOSTS)
    try:
        with installed.hosts_imex():
            kept.ensure()
            pods, domain, daemons = kept.pods(), kept.domain(), installed.pods("computedomain-daemon")
            seen = [Observation.parse(kept.workspace.wait_for_logs(name, "main")) for name in pods]
            labels = [DOMAIN in installed.labels(node) for node in installed.trays]
            kept.remove()
    finally:
        installed.install({})

    assert [dict(each.special) for each in seen] == [{CHANNEL: "ENXIO"}] * 2
    assert domain.ready
    assert daemons == []
    assert labels == [False, False]


@pytest.mark.capability("001-07")
def test_uninstalling_leaves_nothing_on_the_nodes(training: Training) -> None:
    world = training.world
    training.remove()

    world.uninstall()

    assert world.cluster_objects() == []
    assert {name for node in world.nodes for name in world.node_files(node)} == set()
    assert not [node for node in world.nodes if DOMAIN in world.labels(node)]
    with world.timed("slices gone"):
        wait_until("the slices are gone", lambda: not world.slices(DRIVER), seconds=90)
