"""The world of a real local node: kubelet, containerd and runc on an emulated HGX H100; needs root."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from claimwright import cluster as clusters
from claimwright.cluster.images import ImageSpec, compose_image, program_files
from claimwright.cluster.progress import Progress
from claimwright.e2e import deployment
from claimwright.e2e.driver_process import DriverProcess
from claimwright.e2e.kubernetes_door import Kubernetes
from claimwright.e2e.objects import Pod
from claimwright.e2e.observation import Observation
from claimwright.e2e.probe import build_probe
from claimwright.e2e.scenario import PROBE_IMAGE
from claimwright.e2e.workspace import Workspace
from claimwright.emulator import running
from claimwright.emulator.model import NodeProfile

PROFILE = "hgx-h100"
KUBELET_DIR = Path("/var/lib/kubelet")
CDI_DIR = Path("/var/run/cdi")


@dataclass(frozen=True)
class RealWorld:
    """A cluster with real nodes; the first one carries the emulated GPUs and the driver."""

    cluster: clusters.Cluster
    emulated: running.RunningNode
    kubernetes: Kubernetes
    driver: DriverProcess
    folder: Path

    @property
    def node(self) -> clusters.ClusterNode:
        """The node with the GPUs."""
        return self.cluster.nodes[0]

    @property
    def node_name(self) -> str:
        """Its name in Kubernetes."""
        return self.node.name

    @property
    def driver_kubeconfig(self) -> Path:
        """The driver's rights, for the address at which this machine reaches the API server."""
        return deployment.write_driver_kubeconfig(
            self.kubernetes, self.cluster.kubeconfig, self.folder / "outside.kubeconfig", node=self.node_name
        )

    @property
    def cdi_dir(self) -> Path:
        """Its CDI folder, seen from outside."""
        assert self.node.run_dir is not None
        return self.node.run_dir / "cdi"

    @property
    def registry_dir(self) -> Path:
        """Its plugin registration folder, seen from outside."""
        assert self.node.kubelet_dir is not None
        return self.node.kubelet_dir / "plugins_registry"

    def observe(self, workspace: Workspace, pod: Pod, container: str) -> Observation:
        """Read what the probe printed when its container started."""
        text = workspace.wait_for_logs(pod.name, container)
        return Observation.parse(text)


@contextmanager
def real_world(
    folder: Path, *, name: str, version: str = "1.37", nodes: int = 1, progress: Progress | None = None
) -> Generator[RealWorld, None, None]:
    """Start a cluster, attach an emulated node to its first node, start the driver there; undo all at the end."""
    with ExitStack() as undo:
        spec = clusters.ClusterSpec(name=name, kubernetes=version, nodes=nodes)
        undo.enter_context(running_cluster(spec, progress))
        cluster = clusters.load(name)
        emulated = undo.enter_context(attached_node(cluster.nodes[0], name))
        clusters.import_image(cluster, probe_image(folder))
        kubernetes = Kubernetes(cluster.kubeconfig)
        undo.callback(kubernetes.close)
        deployment.install(kubernetes)
        driver = driver_on(cluster, emulated, kubernetes, folder)
        undo.callback(driver.stop)
        driver.start()
        driver.wait_registered()
        yield RealWorld(cluster, emulated, kubernetes, driver, folder)


@contextmanager
def running_cluster(spec: clusters.ClusterSpec, progress: Progress | None) -> Generator[None, None, None]:
    """Start a cluster and take it down at the end."""
    clusters.up(spec, progress=progress)
    try:
        yield
    finally:
        clusters.down(spec.name, progress=progress)


@contextmanager
def attached_node(
    node: clusters.ClusterNode, name: str, profile: NodeProfile | str = PROFILE
) -> Generator[running.RunningNode, None, None]:
    """Boot an emulated node into a cluster node's mount namespace."""
    emulated = running.up(profile, name=name, mount_namespace=node.mount_namespace)
    try:
        yield emulated
    finally:
        running.down(name)


def probe_image(folder: Path) -> Path:
    """Compose the image of the probe: the program, its loader and libraries, and nothing else."""
    program = build_probe(folder)
    files = program_files(program)
    entries = {path: entry for path, entry in files.items() if path != str(program)}
    spec = ImageSpec(
        reference=PROBE_IMAGE,
        entries={**entries, "/probe": files[str(program)]},
        entrypoint=["/probe"],
        environment={"PROBE_SCRATCH": "/tmp"},  # noqa: S108 - the container's own
    )
    return compose_image(spec, folder / "probe.tar")


def driver_on(
    cluster: clusters.Cluster, emulated: running.RunningNode, kubernetes: Kubernetes, folder: Path
) -> DriverProcess:
    """Compose the driver's process on the first node, with the rights of its service account there."""
    node = cluster.nodes[0]
    assert cluster.node_kubeconfig is not None
    assert node.kubelet_dir is not None
    kubeconfig = deployment.write_driver_kubeconfig(
        kubernetes, cluster.node_kubeconfig, folder / "driver.kubeconfig", node=node.name
    )
    command = deployment.plugin_command(
        node=node.name,
        kubeconfig=kubeconfig,
        driver_root=emulated.driver_root,
        host_root=Path("/"),
        kubelet_dir=KUBELET_DIR,
        cdi_dir=CDI_DIR,
    )
    return DriverProcess(
        [*node.enter, *command],
        environment={},
        log=folder / "driver.log",
    )
