"""The Node and Lease objects of an emulated node. Everything that tells it from a real one is in here."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from claimwright.emulator.kubelet.clock import micro_timestamp, timestamp
from claimwright.emulator.kubelet.pods import JsonObject

EMULATED = "claimwright.dev/emulated"
LEASE_NAMESPACE = "kube-node-lease"
DEFAULT_CAPACITY: Mapping[str, str] = {
    "cpu": "64", "memory": "512Gi", "pods": "110", "ephemeral-storage": "1Ti",
}  # fmt: skip

_ADDRESSES = ipaddress.ip_network("198.18.0.0/15")  # RFC 2544: never routed, room for 131,072 nodes
_POD_RANGES = ipaddress.ip_network("10.64.0.0/10")  # one /24 per node: 16,384 nodes


@dataclass(frozen=True)
class StandInNode:
    """One node to play.

    `folder` plays /var/lib/kubelet: it holds plugins_registry/, plugins/, cdi/ (dynamic specs), etc-cdi/
    (static ones) and the checkpoints. `host_root` is put before host paths of CDI specs when containers are
    composed.
    """

    name: str
    folder: Path
    labels: Mapping[str, str] = field(default_factory=dict)
    capacity: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Mapping[str, str], ...] = ()
    address: str | None = None
    pod_range: str | None = None
    host_root: Path = Path("/")
    cdi_folders: tuple[Path, ...] | None = None

    @property
    def registry_dir(self) -> Path:
        """Where drivers put their registration sockets."""
        return self.folder / "plugins_registry"

    @property
    def plugins_dir(self) -> Path:
        """Where drivers keep their sockets and state, one folder each."""
        return self.folder / "plugins"

    @property
    def cdi_dirs(self) -> tuple[Path, ...]:
        """The CDI folders, static before dynamic: a later folder wins (CDI specification)."""
        return self.cdi_folders or (self.folder / "etc-cdi", self.folder / "cdi")

    @property
    def checkpoint(self) -> Path:
        """The claim checkpoint."""
        return self.folder / "dra_manager_state"

    @property
    def health_checkpoint(self) -> Path:
        """The device-health checkpoint."""
        return self.folder / "dra_health_state"


def address_of(node: StandInNode, index: int) -> str:
    """Return the node's address: its own, or the `index`-th of the block for benchmarks."""
    return node.address or str(_ADDRESSES[1 + index % (_ADDRESSES.num_addresses - 2)])


def pod_range_of(node: StandInNode, index: int) -> str:
    """Return the range that pods of the node get addresses from, a /24 unless the node names its own."""
    if node.pod_range:
        return node.pod_range
    start = int(_POD_RANGES.network_address) + 256 * (index % (_POD_RANGES.num_addresses // 256))
    return f"{ipaddress.ip_address(start)}/24"


def node_object(node: StandInNode, pod_range: str) -> JsonObject:
    """Return the Node as it is registered: labels and spec, no status."""
    metadata = {"name": node.name, "labels": node_labels(node), "annotations": node_annotations(node)}
    spec: JsonObject = {
        "podCIDR": pod_range,
        "podCIDRs": [pod_range],
        "providerID": f"claimwright://{node.name}",
    }
    if node.taints:
        spec["taints"] = [dict(taint) for taint in node.taints]
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec}


def node_labels(node: StandInNode) -> dict[str, str]:
    """Return the labels: a kubelet's standard ones, the emulation label, the profile's own."""
    standard = {
        "kubernetes.io/hostname": node.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
    }
    return {**standard, EMULATED: "true", **node.labels}


def node_annotations(node: StandInNode) -> dict[str, str]:
    """Return the annotations; the emulation mark is there too, because labels get copied and cut."""
    return {EMULATED: "true", **node.annotations}


def node_status(
    node: StandInNode, *, address: str, version: str, now: datetime, since: datetime, ready: bool = True
) -> JsonObject:
    """Return the Node status: resources, addresses, conditions, and versions that say what this is."""
    capacity = {**DEFAULT_CAPACITY, **node.capacity}
    return {
        "capacity": capacity,
        "allocatable": capacity,
        "addresses": [
            {"type": "InternalIP", "address": address},
            {"type": "Hostname", "address": node.name},
        ],
        "conditions": _conditions(now, since, ready=ready),
        "nodeInfo": _node_info(node, version),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
    }


def _conditions(now: datetime, since: datetime, *, ready: bool) -> list[JsonObject]:
    pressure = {"MemoryPressure": "Memory", "DiskPressure": "Disk", "PIDPressure": "PID"}
    found = [
        _condition(kind, holds=False, reason=f"KubeletHasSufficient{what}", now=now, since=since)
        for kind, what in pressure.items()
    ]
    reason = "KubeletReady" if ready else "KubeletNotReady"
    return [*found, _condition("Ready", holds=ready, reason=reason, now=now, since=since)]


def _condition(kind: str, *, holds: bool, reason: str, now: datetime, since: datetime) -> JsonObject:
    return {
        "type": kind,
        "status": "True" if holds else "False",
        "reason": reason,
        "message": "emulated by the claimwright kubelet stand-in",
        "lastHeartbeatTime": timestamp(now),
        "lastTransitionTime": timestamp(since),
    }


def _node_info(node: StandInNode, version: str) -> JsonObject:
    # A version that parses as a release, so that version-aware schedulers and controllers work, with a build
    # tag that no real kubelet has.
    emulated = f"emulated-{node.name}"
    return {
        "kubeletVersion": f"{version}+claimwright-stand-in",
        "kubeProxyVersion": "",
        "containerRuntimeVersion": "claimwright-stand-in://0.1.0",
        "osImage": "Claimwright kubelet stand-in (emulated)",
        "kernelVersion": "0.0.0-emulated",
        "operatingSystem": "linux",
        "architecture": "amd64",
        "machineID": emulated,
        "systemUUID": emulated,
        "bootID": emulated,
    }


def lease_object(node: StandInNode, node_uid: str, *, duration_seconds: int, now: datetime) -> JsonObject:
    """Return the node's heartbeat lease, owned by its Node so that it goes with it."""
    owner = {"apiVersion": "v1", "kind": "Node", "name": node.name, "uid": node_uid}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": node.name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner]},
        "spec": {
            "holderIdentity": node.name,
            "leaseDurationSeconds": duration_seconds,
            "renewTime": micro_timestamp(now),
        },
    }
