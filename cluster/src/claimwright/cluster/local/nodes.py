"""Make the real nodes of a cluster: namespaces, network, cgroups, containerd, kubelet."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from claimwright.cluster import errors, folders, processes
from claimwright.cluster.binaries import NODE
from claimwright.cluster.files import write_atomically
from claimwright.cluster.interface import ClusterSpec
from claimwright.cluster.local import cgroups, images, network, node_configuration
from claimwright.cluster.local.addresses import NodePlace
from claimwright.cluster.local.certificates import Authority
from claimwright.cluster.local.control_plane import NAMESPACED
from claimwright.cluster.local.journal import Journal
from claimwright.cluster.local.kubeconfigs import write_kubeconfig
from claimwright.cluster.local.launch import Supervised, check_alive, environment
from claimwright.cluster.local.layout import NodeFolders, node_steps
from claimwright.cluster.local.privileges import may_raise_limits
from claimwright.cluster.local.records import NodeRecord
from claimwright.cluster.local.supervisor import Supervisor, init_command
from claimwright.cluster.processes import Identity

_CONTAINERD_SECONDS = 30.0


@dataclass(frozen=True)
class _Node:
    place: NodePlace
    folders: NodeFolders
    first: Supervisor
    cgroup: str


@dataclass
class Nodes:
    """The nodes of one cluster, while it starts: `prepare` needs no API server, `serve` does."""

    folder: Path
    journal: Journal
    cluster: Supervisor
    authority: Authority
    programs: Mapping[str, Path]
    spec: ClusterSpec
    components: dict[str, Identity] = field(default_factory=dict)
    _nodes: list[_Node] = field(default_factory=list)

    @property
    def names(self) -> set[str]:
        """The names of the nodes."""
        return {node.place.name for node in self._nodes}

    def prepare(self, count: int) -> None:
        """Make namespaces, network and cgroups, and start the container runtimes."""
        if count == 0:
            return
        self._link_programs()
        for index in range(count):
            self._nodes.append(self._make(NodePlace(index)))
        network.join_pod_networks([(node.first.pid, node.place) for node in self._nodes])
        for node in self._nodes:
            self._launch(
                node,
                "containerd",
                [str(self._bin / "containerd"), "--config", self._file(node, "containerd.toml")],
            )

    def serve(self) -> None:
        """Wait for the container runtimes, give them the pause image and start the kubelets."""
        pause = images.pause_tar(folders.cache_folder()) if self._nodes else None
        for node in self._nodes:
            self._await_containerd(node)
            command = node_configuration.kubelet_command(self._bin / "kubelet", node.folders.top, node.place)
            self._launch(node, "kubelet", command)
            assert pause is not None
            images.import_tar(node.first.enter, self._bin / "ctr", pause)

    def records(self) -> Iterator[NodeRecord]:
        """Yield what is saved about each node."""
        for node in self._nodes:
            identity = processes.identify(node.first.pid)
            assert identity is not None, "a Ready node has a first process"
            yield NodeRecord(node.place.index, identity)

    @property
    def _bin(self) -> Path:
        return self.folder / "bin"

    def _link_programs(self) -> None:
        # One folder for PATH and for CNI, wherever each program came from.
        self._bin.mkdir()
        for name in NODE:
            (self._bin / name).symlink_to(self.programs[name].resolve())

    def _make(self, place: NodePlace) -> _Node:
        top = self.folder / place.name
        node_folders = NodeFolders(top, folders.short_folder(self.folder) / place.name)
        node_folders.make()
        cgroup = f"{self.journal.cgroup}/{place.name}"
        self._configure(place, node_folders, cgroup)
        first = self._start_first(place, node_folders)
        trees = cgroups.mounted()
        cgroups.make(f"{cgroup}/system", trees)
        cgroups.add_process(f"{cgroup}/system", first.pid, trees)
        network.connect_node(self.cluster.pid, first.pid, place)
        return _Node(place, node_folders, first, cgroup)

    def _start_first(self, place: NodePlace, node_folders: NodeFolders) -> Supervisor:
        command = init_command(
            node_folders.top, namespaces=("mnt", "pid", "net", "uts", "ipc"), hostname=place.name,
            steps=node_steps(node_folders, Path("/proc/self/mountinfo").read_text()),
        )  # fmt: skip
        self.cluster.run(command, environment=environment(self.folder), log=node_folders.top / "init.log")
        return Supervisor.await_start(node_folders.top)

    def _configure(self, place: NodePlace, node_folders: NodeFolders, cgroup: str) -> None:
        top, pki = node_folders.top, self.authority.pair.certificate
        serving = self.authority.issue(
            f"{place.name}-serving", place.name, addresses=[place.address, place.name]
        )
        user = f"system:node:{place.name}"
        identity = self.authority.issue(place.name, user, organization="system:nodes")
        settings = node_configuration.KubeletSettings(cgroup, pki, serving, self.spec.feature_gates)
        texts = {
            top / "containerd.toml": node_configuration.containerd(
                self._bin, restrict_oom_score=not may_raise_limits()
            ),
            top / "cni-configuration" / "10-claimwright.conflist": node_configuration.cni(place),
            top / "kubelet.yaml": node_configuration.kubelet(settings),
        }
        for path, text in texts.items():
            write_atomically(path, text)
        write_kubeconfig(
            top / "kubelet.kubeconfig", cluster=self.folder.name, server=NAMESPACED.server, authority=pki,
            identity=identity, user=user,
        )  # fmt: skip

    def _launch(self, node: _Node, program: str, argv: list[str]) -> None:
        name = f"{node.place.name}-{program}"
        launcher = Supervised(node.first, self.folder, environment(self.folder, self._bin))
        self.components[name] = launcher.launch(name, argv)

    def _file(self, node: _Node, name: str) -> str:
        return str(node.folders.top / name)

    def _await_containerd(self, node: _Node) -> None:
        path = folders.short_folder(self.folder) / node.place.name / "run" / "containerd" / "containerd.sock"
        deadline = time.monotonic() + _CONTAINERD_SECONDS
        while not _answers(path):
            check_alive(self.folder, self.components)
            if time.monotonic() > deadline:
                raise errors.NotReady(f"containerd of {node.place.name} does not answer at {path}")
            time.sleep(0.02)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except OSError:
            return False
    return True
