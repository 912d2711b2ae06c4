"""A cluster over an NVLink rack, with the driver and its ComputeDomains installed by the chart; needs root.

Two of three nodes are trays of one emulated GB200 rack, with one NVLink clique; the third has GPUs without a fabric.
"""

from __future__ import annotations

import subprocess
import tempfile
import uuid
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from claimwright import cluster as clusters
from claimwright.cluster import versions
from claimwright.driver import image
from claimwright.e2e.deadlines import wait_until
from claimwright.e2e.helm import RELEASE, Helm
from claimwright.e2e.installation import Installation
from claimwright.e2e.kubernetes_door import Kubernetes
from claimwright.e2e.real import attached_node, probe_image, running_cluster
from claimwright.emulator import running
from claimwright.emulator.imex import CONFIG, ask
from claimwright.emulator.imex.configuration import write as write_configuration
from claimwright.emulator.model import NodeProfile, load_node_profile
from claimwright.emulator.model.fabric import ImexService
from claimwright.emulator.rack import BOARDS, Rack, plan
from claimwright.emulator.rack.plan import tray_profile

DRIVER: Final = "compute-domain.nvidia.com"
GPUS: Final = "gpu.nvidia.com"
_BOARD: Final = "gb200-nvl72"
_TRAYS: Final = 2
_ALONE: Final = "l4"
# Where the GPU operator's driver container shows its driver root: one path on all nodes, as the chart has one value.
_DRIVER_ROOT: Final = "/run/nvidia/driver"
_SECONDS: Final = 30.0
_CHILDREN: Final = """
import pathlib, sys
for each in pathlib.Path("/proc").glob("[0-9]*/status"):
    lines = dict(line.split(":", 1) for line in each.read_text().splitlines())
    if lines["Name"].strip() == sys.argv[1] and lines["PPid"].strip() == "1":
        print(each.parent.name)
"""


class RackWorld(Installation):
    """The cluster: `trays` are the names of the nodes in the rack, `alone` is the one that is in none."""

    def __init__(self, cluster: clusters.Cluster, kubernetes: Kubernetes, helm: Helm, rack: Rack) -> None:
        super().__init__(kubernetes, helm, values=_values(), published=self._all_published)
        self.kubernetes = kubernetes
        self.cluster = cluster
        self.clique = rack.clique
        self._rack = rack
        self.nodes = {node.name: node for node in cluster.nodes}
        *self.trays, self.alone = self.nodes

    def node_files(self, node: str) -> list[str]:
        """What the driver of ComputeDomains has on a node's disk, but its sockets and its own base spec."""
        place = self.nodes[node]
        assert place.kubelet_dir is not None
        assert place.run_dir is not None
        folders = (place.kubelet_dir / "plugins" / DRIVER, place.run_dir / "cdi")
        found = (path for folder in folders if folder.exists() for path in folder.rglob("*"))
        return sorted(path.name for path in found if DRIVER in str(path) and not path.is_socket())

    def labels(self, node: str) -> dict[str, str]:
        """The labels of a Node."""
        return dict(self.kubernetes.get(f"/api/v1/nodes/{node}")["metadata"].get("labels", {}))

    def run_in(self, pod: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program in the first container of a pod of the driver, through its node's container runtime."""
        name = f"look-{uuid.uuid4().hex[:8]}"
        return self._ctr(pod, RELEASE, ("exec", "--exec-id", name), *words)

    def signal(self, pod: str, name: str, *, namespace: str = RELEASE) -> None:
        """Send a signal, such as SIGKILL, to the first process of a pod's first container."""
        ended = self._ctr(pod, namespace, ("kill", "--signal", name))
        assert ended.returncode == 0, ended.stderr

    @contextmanager
    def hosts_imex(self) -> Generator[None, None, None]:
        """Run an nvidia-imex on each tray itself, as an administrator does who leaves it to no driver."""
        nodes = [self.nodes[name] for name in self.trays]
        addresses = tuple(node.address for node in nodes)
        roots = [running.load(seat.node).driver_root for seat in self._rack.trays]
        with ExitStack() as undo:
            for node, root in zip(nodes, roots, strict=True):
                write_configuration(ImexService(nodes=addresses, address=node.address), root)
                command = [f"{_DRIVER_ROOT}/usr/bin/nvidia-imex", "-c", f"{_DRIVER_ROOT}/{CONFIG}"]
                daemon = subprocess.Popen([*node.enter, *command], stdin=subprocess.DEVNULL)
                undo.callback(daemon.wait, timeout=_SECONDS)
                undo.callback(daemon.terminate)
            wait_until(
                "the hosts' IMEX domain is UP",
                lambda: all((found := ask(root)) and found.state == "UP" for root in roots),
                seconds=_SECONDS,
                seen=lambda: [ask(root) for root in roots],
            )
            yield

    def _ctr(
        self, pod: str, namespace: str, verb: Sequence[str], *words: str
    ) -> subprocess.CompletedProcess[str]:
        found = self.kubernetes.get(f"/api/v1/namespaces/{namespace}/pods/{pod}")
        node = self.nodes[found["spec"]["nodeName"]]
        container = found["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
        ctr = (str(self.cluster.folder / "bin/ctr"), "--namespace", "k8s.io", "tasks")
        command = [*node.enter, *ctr, *verb, container, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)

    def children_in(self, pod: str, program: str) -> list[int]:
        """What a container's first process has started of a program, as numbered in there; a pod of the driver."""
        ended = self.run_in(pod, "python3", "-c", _CHILDREN, program)
        assert ended.returncode == 0, ended.stderr
        return [int(word) for word in ended.stdout.split()]

    def kill_in(self, pod: str, pid: int) -> None:
        """End a process there without a chance to say goodbye."""
        ended = self.run_in(pod, "python3", "-c", "import os, sys; os.kill(int(sys.argv[1]), 9)", str(pid))
        assert ended.returncode == 0, ended.stderr

    def _all_published(self) -> bool:
        """Every node publishes its channel and daemon, and its GPUs."""
        return all(
            {found["spec"]["nodeName"] for found in self.slices(driver)} == set(self.nodes)
            for driver in (DRIVER, GPUS)
        )


@contextmanager
def installed_rack(purpose: str, *, program: Path, minor: str = "") -> Generator[RackWorld, None, None]:
    """Start the cluster over the rack, bring the images, and leave the installing to the caller.

    `purpose` begins the cluster's name, `program` is helm. `minor` is a Kubernetes such as 1.34; the newest when empty.
    """
    name = f"{purpose}-{uuid.uuid4().hex[:6]}"
    with ExitStack() as undo:
        scratch = tempfile.TemporaryDirectory(prefix="cw-", ignore_cleanup_errors=True)
        folder = Path(undo.enter_context(scratch))
        spec = clusters.ClusterSpec(name=name, nodes=_TRAYS + 1, kubernetes=minor or versions.DEFAULT_MINOR)
        undo.enter_context(running_cluster(spec, None))
        cluster = clusters.load(name)
        rack = plan(_BOARD, name=name, trays=_TRAYS)
        tray = load_node_profile(BOARDS[_BOARD])
        profiles = [(seat.node, tray_profile(tray, rack, seat)) for seat in rack.trays]
        profiles.append((f"{name}-alone", load_node_profile(_ALONE)))
        for node, (emulated, profile) in zip(cluster.nodes, profiles, strict=True):
            _attach(undo, node, emulated, profile)
        kubernetes = Kubernetes(cluster.kubeconfig)
        undo.callback(kubernetes.close)
        world = RackWorld(cluster, kubernetes, Helm(program, cluster.kubeconfig), rack)
        with world.timed("image composed"):
            image.write_image(folder / "driver.tar")
        with world.timed("images imported"):
            clusters.import_image(cluster, folder / "driver.tar")
            clusters.import_image(cluster, probe_image(folder))
        for node in cluster.nodes:
            label = {"metadata": {"labels": {"nvidia.com/gpu.present": "true"}}}
            kubernetes.patch(f"/api/v1/nodes/{node.name}", label)
        yield world


def _attach(undo: ExitStack, node: clusters.ClusterNode, name: str, profile: NodeProfile) -> None:
    """Boot an emulated node into a cluster node, and show its driver root where every node has it."""
    emulated = undo.enter_context(attached_node(node, name, profile))
    _on(node, "mkdir", "-p", _DRIVER_ROOT)
    _on(node, "mount", "--bind", str(emulated.driver_root), _DRIVER_ROOT)
    undo.callback(_on, node, "umount", "--lazy", _DRIVER_ROOT)


def _on(node: clusters.ClusterNode, *words: str) -> None:
    ended = subprocess.run(
        [*node.enter, *words], capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    assert ended.returncode == 0, f"{words}: {ended.stderr}"


def _values() -> dict[str, str]:
    return {
        "nvidiaDriverRoot": _DRIVER_ROOT,
        "image.pullPolicy": "Never",
        "resources.computeDomains.enabled": "true",
        "kubeletPlugin.containers.computeDomains.gpuCliqueLabelEnabled": "true",
        "logVerbosity": "4",
    }
