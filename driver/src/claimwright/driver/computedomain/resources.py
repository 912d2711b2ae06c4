"""The API objects of ComputeDomains as values: group, names and labels are the community driver's.

A domain is cut into cliques by the NVLink fabric: nodes of one cluster uuid and clique number can reach each other. The
nodes of a clique are rows of one ComputeDomainClique, each written by the daemon of that node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from claimwright.dra.kube import Resource

GROUP: Final = "resource.nvidia.com"
VERSION: Final = "v1beta1"
COMPUTE_DOMAINS: Final = Resource(GROUP, VERSION, "computedomains", "ComputeDomain", namespaced=True)
CLIQUES: Final = Resource(GROUP, VERSION, "computedomaincliques", "ComputeDomainClique", namespaced=True)

# On nodes, daemon sets, claim templates and cliques its value is the uid of the domain; also the finalizer.
DOMAIN: Final = f"{GROUP}/computeDomain"
# On daemon pods and cliques: the clique, empty on a node without one.
CLIQUE: Final = f"{GROUP}/computeDomain.cliqueID"
# On claim templates: for whom it is.
TARGET: Final = f"{GROUP}/computeDomainTarget"
TARGET_DAEMON, TARGET_WORKLOAD = "Daemon", "Workload"
COMPUTE_DOMAIN_DRIVER: Final = "compute-domain.nvidia.com"
DAEMON_CLASS: Final = "compute-domain-daemon.nvidia.com"
CHANNEL_CLASS: Final = "compute-domain-default-channel.nvidia.com"
DAEMON_ACCOUNT: Final = "compute-domain-daemon-service-account"
MAX_NODES: Final = 18
CHANNELS: Final = 2048
READY, NOT_READY = "Ready", "NotReady"
# Who runs nvidia-imex: the driver, one daemon a node and domain, or the host, one service for all domains.
DRIVER_MANAGED, HOST_MANAGED = "driverManaged", "hostManaged"

# What the plugin gives to a daemon's container by CDI: a writable folder of this domain and node, in which the daemon
# finds nothing that is not its own (it renders its configuration itself), and the environment. The clique is empty
# where no NVLink fabric is; a container without the uid did not get the claim.
DAEMON_FOLDER: Final = PurePosixPath("/imexd")
ENV_CLIQUE: Final = "CLIQUE_ID"
ENV_DOMAIN_UID: Final = "COMPUTE_DOMAIN_UUID"
ENV_DOMAIN_NAME: Final = "COMPUTE_DOMAIN_NAME"
ENV_DOMAIN_NAMESPACE: Final = "COMPUTE_DOMAIN_NAMESPACE"


@dataclass(frozen=True)
class Member:
    """One node in a domain; `clique` is empty and `index` -1 where no NVLink fabric is."""

    node: str
    address: str
    clique: str
    index: int
    ready: bool

    @classmethod
    def from_object(cls, row: Mapping[str, Any]) -> Member:
        """Read a row of a clique (`nodeName`) or of a domain's status (`name`); fields that are missing are empty."""
        return cls(
            node=str(row.get("nodeName") or row.get("name") or ""),
            address=str(row.get("ipAddress", "")),
            clique=str(row.get("cliqueID", "")),
            index=int(row.get("index", -1)),
            ready=row.get("status") == READY,
        )

    def row(self, *, named: str) -> dict[str, Any]:
        """Spell it as a row whose key is `named`: `nodeName` in a clique, `name` in a domain's status."""
        return {
            named: self.node,
            "ipAddress": self.address,
            "cliqueID": self.clique,
            "index": self.index,
            "status": READY if self.ready else NOT_READY,
        }


@dataclass(frozen=True)
class ComputeDomain:
    """A domain as people ask for it, and the nodes that are in it now."""

    namespace: str
    name: str
    uid: str
    template: str
    all_channels: bool = False
    num_nodes: int = 0
    deleting: bool = False
    finalizers: tuple[str, ...] = ()
    members: tuple[Member, ...] = ()
    ready: bool = False

    @classmethod
    def from_object(cls, record: Mapping[str, Any]) -> ComputeDomain:
        """Read a ComputeDomain that the API server has checked against its schema."""
        metadata, spec, status = record["metadata"], record["spec"], record.get("status") or {}
        channel = spec["channel"]
        return cls(
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata["uid"],
            template=channel["resourceClaimTemplate"]["name"],
            all_channels=channel.get("allocationMode") == "All",
            num_nodes=int(spec.get("numNodes") or 0),
            deleting="deletionTimestamp" in metadata,
            finalizers=tuple(metadata.get("finalizers") or ()),
            members=tuple(Member.from_object(row) for row in status.get("nodes") or ()),
            ready=status.get("status") == READY,
        )

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Clique:
    """The nodes of one domain that one NVLink fabric joins; lives in the driver's namespace."""

    name: str
    domain_uid: str
    members: tuple[Member, ...] = ()

    @classmethod
    def from_object(cls, record: Mapping[str, Any]) -> Clique:
        """Read a ComputeDomainClique."""
        metadata = record["metadata"]
        return cls(
            name=metadata["name"],
            domain_uid=str((metadata.get("labels") or {}).get(DOMAIN, "")),
            members=tuple(Member.from_object(row) for row in record.get("daemons") or ()),
        )


def clique_name(domain_uid: str, clique: str) -> str:
    """Name the object of a clique (`<clusterUUID>.<n>`)."""
    return f"{domain_uid}.{clique}"


def daemon_name(domain_uid: str) -> str:
    """Name a domain's daemon set, and the claim template of its pods."""
    return f"computedomain-daemon-{domain_uid}"
