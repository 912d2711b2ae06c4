"""The world of the kubelet stand-in: a real API server and scheduler, an emulated node and kubelet; no root."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from claimwright import cluster as clusters
from claimwright.cluster.progress import Progress
from claimwright.dra.kube import Kube
from claimwright.e2e import deployment
from claimwright.e2e.driver_process import DriverProcess
from claimwright.e2e.kubernetes_door import Kubernetes
from claimwright.e2e.loop_thread import LoopThread
from claimwright.e2e.objects import Pod
from claimwright.e2e.observation import Observation
from claimwright.e2e.probe import build_probe
from claimwright.e2e.workspace import Workspace
from claimwright.emulator import running
from claimwright.emulator.kubelet import StandInKubelet, StandInNode

PROFILE = "hgx-h100"


@dataclass(frozen=True)
class StandInWorld:
    """One node played by the stand-in, with the driver as an ordinary process beside it."""

    cluster: clusters.Cluster
    emulated: running.RunningNode
    kubernetes: Kubernetes
    driver: DriverProcess
    kubelet: StandInKubelet
    loop: LoopThread
    probe: Path
    driver_kubeconfig: Path
    node_name: str
    cdi_dir: Path
    registry_dir: Path

    def observe(self, workspace: Workspace, pod: Pod, container: str) -> Observation:
        """Run the probe where it sees what CDI injected into the container; there is no device cgroup to ask."""
        work = self.kubelet.exec(
            workspace.namespace,
            pod.name,
            container,
            ["/bin/sh", "-c", f'PROBE_ROOT="$CLAIMWRIGHT_SANDBOX" exec "{self.probe}" --once'],
        )
        return Observation.parse(self.loop.run(work).stdout)


@contextmanager
def standin_world(
    folder: Path, *, name: str, version: str = "1.37", progress: Progress | None = None
) -> Generator[StandInWorld, None, None]:
    """Start a control plane, an emulated node, its kubelet stand-in and the driver; undo all at the end."""
    with ExitStack() as undo:
        clusters.up(clusters.ClusterSpec(name=name, kubernetes=version, nodes=0), progress=progress)
        undo.callback(clusters.down, name)
        cluster = clusters.load(name)
        emulated = running.up(PROFILE, name=name)
        undo.callback(running.down, name)
        kubernetes = Kubernetes(cluster.kubeconfig)
        undo.callback(kubernetes.close)
        deployment.install(kubernetes)
        node = StandInNode(name="stand-in", folder=folder / "kubelet")
        loop = undo.enter_context(LoopThread())
        kubelet = StandInKubelet(Kube.from_kubeconfig(cluster.kubeconfig), [node])
        loop.run(kubelet.start())
        undo.callback(lambda: loop.run(kubelet.stop()))
        driver = _driver(cluster, emulated, kubernetes, folder, node)
        undo.callback(driver.stop)
        driver.start()
        driver.wait_registered()
        yield StandInWorld(
            cluster=cluster,
            emulated=emulated,
            kubernetes=kubernetes,
            driver=driver,
            kubelet=kubelet,
            loop=loop,
            probe=build_probe(folder),
            driver_kubeconfig=folder / "driver.kubeconfig",
            node_name=node.name,
            cdi_dir=folder / "kubelet" / "cdi",
            registry_dir=folder / "kubelet" / "plugins_registry",
        )


def _driver(
    cluster: clusters.Cluster,
    emulated: running.RunningNode,
    kubernetes: Kubernetes,
    folder: Path,
    node: StandInNode,
) -> DriverProcess:
    kubeconfig = deployment.write_driver_kubeconfig(
        kubernetes, cluster.kubeconfig, folder / "driver.kubeconfig", node=node.name
    )
    command = deployment.plugin_command(
        node=node.name,
        kubeconfig=kubeconfig,
        driver_root=emulated.driver_root,
        host_root=emulated.host_root,
        kubelet_dir=node.folder,
        cdi_dir=node.folder / "cdi",
    )
    return DriverProcess(
        command,
        environment={},
        log=folder / "driver.log",
    )
