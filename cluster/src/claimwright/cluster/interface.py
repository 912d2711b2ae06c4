"""What every provider gives: a cluster, its nodes, and the four verbs up, load, down and list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from claimwright.cluster import errors, folders, state, versions
from claimwright.cluster.progress import Progress, Silent

ProviderName = Literal["local", "kind", "kubeconfig"]
PROVIDERS: tuple[ProviderName, ...] = ("local", "kind", "kubeconfig")


@dataclass(frozen=True)
class ClusterNode:
    """One node. Where it lives on this machine, its namespaces and folders are given; elsewhere they are None.

    `enter` is the command prefix that runs a program inside the node, in all its namespaces; the program ends
    with its caller and gets its signals.
    """

    name: str
    address: str
    enter: tuple[str, ...] = ()
    mount_namespace: Path | None = None
    network_namespace: Path | None = None
    folder: Path | None = None
    kubelet_dir: Path | None = None
    """Host path of what the node sees as /var/lib/kubelet; short, so that sockets below it can be used."""
    run_dir: Path | None = None
    """Host path of what the node sees as /run (so /var/run/cdi is `run_dir / "cdi"`)."""
    cdi_dir: Path | None = None
    """Host path of what the node sees as /etc/cdi."""
    pid: int | None = None
    """The node's first process; everything of the node ends with it."""


@dataclass(frozen=True)
class Cluster:
    """A running Kubernetes. `kubeconfig` works from this process, `node_kubeconfig` inside local nodes."""

    name: str
    provider: ProviderName
    kubernetes: str
    kubeconfig: Path
    nodes: tuple[ClusterNode, ...]
    folder: Path
    emulated_kubelets: bool
    """True when no real kubelet serves: pods run only on the kubelet stand-in."""
    node_kubeconfig: Path | None = None
    enter: tuple[str, ...] = ()
    """The command prefix that runs a program beside the control plane, in its network namespace."""
    components: Mapping[str, int] = field(default_factory=dict)
    """Process ids of the control plane on this machine, by name."""


@dataclass(frozen=True)
class ClusterSpec:
    """What `up` is asked for. `api_qps` lifts the client limits of controller manager and scheduler."""

    name: str = "claimwright"
    provider: ProviderName = "local"
    kubernetes: str = versions.DEFAULT_MINOR
    nodes: int = 1
    feature_gates: Mapping[str, bool] = field(default_factory=dict)
    binaries: Path | None = None
    kubeconfig: Path | None = None
    context: str | None = None
    api_qps: int | None = None
    api_port: int = 0
    """Port on the host's loopback; 0 takes a free one."""


class Provider(Protocol):
    """One way of having a Kubernetes."""

    def up(self, spec: ClusterSpec, folder: Path, progress: Progress) -> Cluster:
        """Make the cluster; on any error nothing stays behind."""

    def load(self, folder: Path) -> Cluster:
        """Describe the running cluster of `folder`; raises ClusterNotFound when it does not run."""

    def down(self, folder: Path, progress: Progress) -> None:
        """Remove everything that `up` made, however far it came; repeatable."""

    def import_image(self, cluster: Cluster, tar: Path) -> None:
        """Load an OCI image tar into every node."""


def up(spec: ClusterSpec, *, progress: Progress | None = None) -> Cluster:
    """Start a cluster and return it ready.

    What an interrupted `up` of the same name left is removed first. Raises a ClusterError; nothing stays behind.
    """
    progress = progress or Silent()
    _check(spec)
    folder = folders.clusters_folder() / spec.name
    provider = provider_named(spec.provider)
    with state.locked(folder):
        _make_room(folder, progress)
        state.begin(folder, spec.provider)
        try:
            cluster = provider.up(spec, folder, progress)
            state.finish(folder)
        except BaseException:
            provider.down(folder, progress)
            state.remove(folder)
            raise
    return cluster


def load(name: str) -> Cluster:
    """Return the running cluster `name`; raises ClusterNotFound."""
    folder = folders.clusters_folder() / folders.checked_name(name)
    record = state.read(folder)
    if record is None or record.phase != "ready":
        raise errors.ClusterNotFound(_not_found(name))
    return provider_named(record.provider).load(folder)


def down(name: str, *, progress: Progress | None = None) -> None:
    """Remove the cluster `name`, whatever state it is in; raises ClusterNotFound when there is nothing of it."""
    folder = folders.clusters_folder() / folders.checked_name(name)
    if not folder.exists() and not _has_traces(folder):
        raise errors.ClusterNotFound(_not_found(name))
    with state.locked(folder):
        _remove(folder, progress or Silent())


def list_clusters() -> list[str]:
    """Return the names of all clusters of this user, broken ones included, sorted."""
    parent = folders.clusters_folder()
    if not parent.is_dir():
        return []
    return sorted(path.name for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))


def import_image(cluster: Cluster, tar: Path) -> None:
    """Load an OCI image tar into every node of the cluster; pods use it with imagePullPolicy Never."""
    provider_named(cluster.provider).import_image(cluster, tar)


def provider_named(name: str) -> Provider:
    """Import the provider called `name`; only the one in use costs its imports."""
    # Imported here so that listing clusters does not load the certificate and Kubernetes libraries.
    match name:
        case "local":
            from claimwright.cluster.local.provider import Local  # noqa: PLC0415

            return Local()
        case "kind":
            from claimwright.cluster.kind.provider import Kind  # noqa: PLC0415

            return Kind()
        case "kubeconfig":
            from claimwright.cluster.kubeconfig.provider import Kubeconfig  # noqa: PLC0415

            return Kubeconfig()
        case _:
            raise errors.InvalidRequest(
                f"provider {name!r} is not known: choose one of {', '.join(PROVIDERS)}"
            )


def _check(spec: ClusterSpec) -> None:
    folders.checked_name(spec.name)
    if spec.provider != "kubeconfig":
        versions.kubernetes_version(spec.kubernetes)
    if spec.provider != "kubeconfig" and (spec.kubeconfig or spec.context):
        raise errors.InvalidRequest(
            f"--kubeconfig and --context name a cluster that runs already, but --provider {spec.provider} starts"
            " one: add --provider kubeconfig, or leave them out"
        )
    if not 0 <= spec.nodes <= 64:
        raise errors.InvalidRequest(f"--nodes {spec.nodes}: a machine takes 0 to 64 nodes")


def _make_room(folder: Path, progress: Progress) -> None:
    record = state.read(folder)
    if record is not None and record.phase == "ready":
        try:
            cluster = provider_named(record.provider).load(folder)
        except errors.ClusterNotFound:
            pass
        else:
            raise errors.ClusterExists(
                f"cluster {cluster.name!r} already runs (Kubernetes {cluster.kubernetes}, {len(cluster.nodes)}"
                f" nodes): use it, choose another --name, or `claimwright cluster down {cluster.name}`"
            )
    if folder.exists() or _has_traces(folder):
        progress.note(f"removing what an earlier {folder.name!r} left")
        _remove(folder, progress)


def _remove(folder: Path, progress: Progress) -> None:
    record = state.read(folder)
    # Without a record nothing says which provider it was; local is the one that leaves traces on this machine.
    provider_named(record.provider if record else "local").down(folder, progress)
    state.remove(folder)


def _has_traces(folder: Path) -> bool:
    """Say whether a cluster lives on although somebody removed its folder."""
    from claimwright.cluster.local.teardown import has_traces  # noqa: PLC0415 - only local ones leave any here

    return has_traces(folder)


def _not_found(name: str) -> str:
    others: Sequence[str] = list_clusters()
    there = f"there are: {', '.join(others)}" if others else "there is none"
    return f"no cluster {name!r} runs ({there}); start it with `claimwright cluster up --name {name}`"
