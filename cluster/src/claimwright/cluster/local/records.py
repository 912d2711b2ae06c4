"""The running local cluster on disk: its processes, and the Cluster value made from them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from claimwright.cluster import errors, folders, processes, state
from claimwright.cluster.files import write_atomically
from claimwright.cluster.interface import Cluster, ClusterNode
from claimwright.cluster.local.addresses import NodePlace
from claimwright.cluster.local.supervisor import enter_prefix
from claimwright.cluster.processes import Identity

_RECORD = "local.json"
ADMIN_KUBECONFIG = "kubeconfig"
NODE_KUBECONFIG = "node.kubeconfig"


@dataclass(frozen=True)
class NodeRecord:
    """A node's first process."""

    index: int
    first: Identity


@dataclass(frozen=True)
class LocalRecord:
    """A local cluster. `first` is its first process, None without root (then the components stand alone)."""

    kubernetes: str
    port: int
    first: Identity | None
    components: dict[str, Identity]
    nodes: tuple[NodeRecord, ...]

    def write(self, folder: Path) -> None:
        """Save the record."""
        write_atomically(folder / _RECORD, json.dumps(asdict(self), indent=1))

    def is_alive(self) -> bool:
        """Say whether the processes that everything depends on run; a node that died leaves the cluster alive."""
        vital = [*self.components.values(), *([self.first] if self.first else [])]
        return all(processes.is_alive(identity) for identity in vital)


def read(folder: Path) -> LocalRecord | None:
    """Return the record, None when it is missing or not ours."""
    try:
        return _parse(state.read_object(folder / _RECORD))
    except (KeyError, TypeError, AttributeError):
        return None


def load(folder: Path) -> Cluster:
    """Return the living cluster of `folder`; raises ClusterNotFound when its processes are gone."""
    record = read(folder)
    if record is None or not record.is_alive():
        raise errors.ClusterNotFound(
            f"cluster {folder.name!r} is broken, its processes are gone: `claimwright cluster down {folder.name}`"
        )
    return describe(folder, record)


def describe(folder: Path, record: LocalRecord) -> Cluster:
    """Return the value that users of the cluster work with."""
    return Cluster(
        name=folder.name,
        provider="local",
        kubernetes=record.kubernetes,
        kubeconfig=folder / ADMIN_KUBECONFIG,
        nodes=tuple(_describe_node(folder, node) for node in record.nodes),
        folder=folder,
        emulated_kubelets=not record.nodes,
        node_kubeconfig=folder / NODE_KUBECONFIG if record.first else None,
        enter=enter_prefix(record.first.pid) if record.first else (),
        components={name: identity.pid for name, identity in record.components.items()},
    )


def _describe_node(folder: Path, node: NodeRecord) -> ClusterNode:
    place = NodePlace(node.index)
    short = folders.short_folder(folder) / place.name
    namespaces = Path(f"/proc/{node.first.pid}/ns")
    return ClusterNode(
        name=place.name, address=place.address, enter=enter_prefix(node.first.pid),
        mount_namespace=namespaces / "mnt", network_namespace=namespaces / "net", folder=folder / place.name,
        kubelet_dir=short / "kubelet", run_dir=short / "run", cdi_dir=short / "cdi", pid=node.first.pid,
    )  # fmt: skip


def _parse(content: dict[str, Any]) -> LocalRecord:
    first = content["first"]
    return LocalRecord(
        kubernetes=content["kubernetes"],
        port=content["port"],
        first=Identity(**first) if first else None,
        components={name: Identity(**value) for name, value in content["components"].items()},
        nodes=tuple(NodeRecord(node["index"], Identity(**node["first"])) for node in content["nodes"]),
    )
