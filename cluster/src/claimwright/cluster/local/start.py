"""Start a local cluster: programs, certificates, control plane and nodes, side by side where they can be."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from claimwright.cluster import errors, processes, versions
from claimwright.cluster.binaries import CONTROL_PLANE, NODE, Sources, provision
from claimwright.cluster.interface import Cluster, ClusterSpec
from claimwright.cluster.local import addresses, api, control_plane, forwarder, network, records, steps
from claimwright.cluster.local.api import Api
from claimwright.cluster.local.control_plane import Endpoints, Settings
from claimwright.cluster.local.identities import Passports, make_passports
from claimwright.cluster.local.journal import Journal
from claimwright.cluster.local.launch import Detached, Supervised, check_alive, environment
from claimwright.cluster.local.nodes import Nodes
from claimwright.cluster.local.privileges import why_no_nodes
from claimwright.cluster.local.records import LocalRecord
from claimwright.cluster.local.supervisor import Supervisor, init_command, interpreter
from claimwright.cluster.processes import Identity
from claimwright.cluster.progress import Progress

_READY_SECONDS = 90.0
_HIDDEN_IN_NODES = ("/run", "/dev", "/proc", "/sys", "/var/lib/kubelet", "/var/log")


def start(spec: ClusterSpec, folder: Path, progress: Progress) -> Cluster:
    """Bring up what `spec` asks for; the caller removes what is left after an error."""
    kubernetes = versions.kubernetes_version(spec.kubernetes)
    refused = why_no_nodes()
    if refused:
        progress.note(f"{refused}: control plane only; pods need emulated kubelets (the kubelet stand-in)")
    nodes = 0 if refused else spec.nodes
    _check_folder(folder, nodes)
    found = provision(
        [*CONTROL_PLANE, *(NODE if nodes else ())], kubernetes, Sources(folder=spec.binaries), progress
    )
    (folder / "logs").mkdir()
    with _listen(spec.api_port) as listener:
        make = _Detached if refused else _Namespaced
        plane = make(spec, kubernetes, folder, found, listener)
        record = plane.start(nodes, progress)
    record.write(folder)
    return records.describe(folder, record)


@dataclass
class _Start:
    """One start under way: what both forms, with and without namespaces, share."""

    spec: ClusterSpec
    kubernetes: versions.KubernetesVersion
    folder: Path
    programs: dict[str, Path]
    listener: socket.socket
    components: dict[str, Identity] = field(default_factory=dict)

    @property
    def port(self) -> int:
        """The port on the host's loopback."""
        port: int = self.listener.getsockname()[1]
        return port

    def settings(self, endpoints: Endpoints, passports: Passports) -> Settings:
        """Collect what the command lines depend on."""
        return Settings(
            self.programs, self.folder, endpoints, passports.control_plane, self.spec.feature_gates,
            self.spec.api_qps, self.kubernetes,
        )  # fmt: skip

    def api(self, passports: Passports) -> Api:
        """Return the door to the API server, from the host."""
        return Api(self.port, passports.authority.pair, passports.admin)

    def check(self) -> None:
        """Raise when a component has died."""
        check_alive(self.folder, self.components)

    def await_true(self, door: Api, question: Callable[[Api], bool], what: str) -> None:
        """Wait for the API server to answer yes."""
        door.await_true(question, what, seconds=_READY_SECONDS, check=self.check)


class _Namespaced(_Start):
    """With root: everything in namespaces of the cluster's own, nodes too."""

    def start(self, nodes: int, progress: Progress) -> LocalRecord:
        """Start the first process, the control plane and the nodes."""
        journal = Journal.for_folder(self.folder)
        journal.write(self.folder)
        _link(Path(journal.alias), self.folder)
        passports = make_passports(self.folder, control_plane.NAMESPACED, self.port)
        first = self._first_process()
        launcher = Supervised(first, self.folder, environment(self.folder))
        settings = self.settings(control_plane.NAMESPACED, passports)
        door = self.api(passports)
        with progress.step(f"starting Kubernetes {self.kubernetes.patch}"):
            self._launch_servers(launcher, settings)
            workers = Nodes(self.folder, journal, first, passports.authority, self.programs, self.spec)
            workers.prepare(nodes)
            self.await_true(door, api.is_ready, "the API server")
            self.components["kube-controller-manager"] = launcher.launch(
                "kube-controller-manager", control_plane.controller_manager(settings)
            )
            self.components["kube-scheduler"] = launcher.launch(
                "kube-scheduler", control_plane.scheduler(settings)
            )
            workers.serve()
            self.await_true(door, api.has_default_account, "the default service account")
        if nodes:
            with progress.step(f"waiting for {nodes} node{'s' if nodes > 1 else ''}"):
                self.components |= workers.components
                self.await_true(door, api.nodes_ready(workers.names), f"{', '.join(sorted(workers.names))}")
        identity = processes.identify(first.pid)
        assert identity is not None, "the first process is alive: its children answer"
        plane = {name: found for name, found in self.components.items() if name not in workers.components}
        return LocalRecord(self.kubernetes.patch, self.port, identity, plane, tuple(workers.records()))

    def _first_process(self) -> Supervisor:
        descriptor = self.listener.fileno()
        command = init_command(
            self.folder, namespaces=("mnt", "pid", "net", "uts", "ipc"), hostname=self.folder.name,
            steps=[*steps.own_proc(), steps.write("/proc/sys/net/ipv4/ip_forward", "1")], listener=descriptor,
        )  # fmt: skip
        first = Supervisor.start(command, self.folder, environment(self.folder), inherit=[descriptor])
        network.prepare_control_plane(first.pid)
        return first

    def _launch_servers(self, launcher: Supervised, settings: Settings) -> None:
        self.components["etcd"] = launcher.launch("etcd", control_plane.etcd(settings))
        self.components["kube-apiserver"] = launcher.launch(
            "kube-apiserver", control_plane.api_server(settings)
        )
        forward = [
            *interpreter(forwarder.__file__), str(self.listener.fileno()), addresses.CONTROL_PLANE,
            str(addresses.API_PORT),
        ]  # fmt: skip
        self.components["forwarder"] = launcher.launch("forwarder", forward, listener=True)


class _Detached(_Start):
    """Without root: the control plane alone, on free ports of the loopback."""

    def start(self, nodes: int, progress: Progress) -> LocalRecord:
        """Start the four servers."""
        assert nodes == 0, "nodes need namespaces"
        endpoints = _free_endpoints(self.port)
        passports = make_passports(self.folder, endpoints, self.port)
        launcher = Detached(self.folder, environment(self.folder))
        settings = self.settings(endpoints, passports)
        door = Api(self.port, passports.authority.pair, passports.admin)
        port = self.port
        self.listener.close()
        with progress.step(f"starting Kubernetes {self.kubernetes.patch} without root"):
            for name, argv in (
                ("etcd", control_plane.etcd(settings)),
                ("kube-apiserver", control_plane.api_server(settings)),
            ):
                self.components[name] = launcher.launch(name, argv)
            self.await_true(door, api.is_ready, "the API server")
            for name, argv in (
                ("kube-controller-manager", control_plane.controller_manager(settings)),
                ("kube-scheduler", control_plane.scheduler(settings)),
            ):
                self.components[name] = launcher.launch(name, argv)
            self.await_true(door, api.has_default_account, "the default service account")
        return LocalRecord(self.kubernetes.patch, port, None, dict(self.components), ())


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise errors.PortInUse(
                f"port {port} of 127.0.0.1 is taken: choose another --api-port, or 0 for any free one"
            ) from error
        if error.errno == errno.EACCES:
            raise errors.PortInUse(
                f"port {port} needs root: choose one from 1024 up, or 0 for any"
            ) from error
        raise
    return listener


def _free_endpoints(api_port: int) -> Endpoints:
    holders = [_listen(0) for _ in range(4)]
    ports = [holder.getsockname()[1] for holder in holders]
    for holder in holders:
        holder.close()
    etcd, peer, manager, scheduler = ports
    return Endpoints("127.0.0.1", api_port, etcd, peer, manager, scheduler, "127.0.0.1")


def _link(alias: Path, folder: Path) -> None:
    if alias.is_symlink():
        alias.unlink()
    alias.symlink_to(folder)


def _check_folder(folder: Path, nodes: int) -> None:
    for hidden in _HIDDEN_IN_NODES if nodes else ():
        if folder.is_relative_to(hidden):
            raise errors.InvalidRequest(
                f"{folder} is below {hidden}, which nodes have of their own: set XDG_STATE_HOME to another place"
            )
