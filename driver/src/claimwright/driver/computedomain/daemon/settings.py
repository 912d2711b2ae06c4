"""What the daemon is told: by the plugin through CDI which domain and clique, by its pod who it is."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass, field, fields
from pathlib import Path

from claimwright.driver.computedomain.resources import (
    DAEMON_FOLDER,
    ENV_DOMAIN_UID,
    MAX_NODES,
    Member,
    clique_name,
)
from claimwright.driver.errors import NodeUnusable
from claimwright.driver.feature_gates import FeatureGates


@dataclass(frozen=True)
class DaemonSettings:
    """`clique` is empty on a node without an NVLink fabric; `folder` is this domain's on this node, and writable."""

    domain_uid: str
    clique: str
    node: str
    pod: str
    pod_uid: str
    pod_namespace: str
    pod_ip: str
    domain_name: str = ""
    domain_namespace: str = "default"
    max_nodes: int = MAX_NODES
    folder: Path = Path(DAEMON_FOLDER)
    hosts: Path = Path("/etc/hosts")
    feature_gates: FeatureGates = field(default_factory=FeatureGates)

    @property
    def by_names(self) -> bool:
        """Whether nvidia-imex knows its peers by names, which may get other addresses while it runs."""
        return self.feature_gates["IMEXDaemonsWithDNSNames"]

    @property
    def has_cliques(self) -> bool:
        """Whether rows are in a ComputeDomainClique, and not in the status of the domain."""
        return self.feature_gates["ComputeDomainCliques"]

    @property
    def domain(self) -> str:
        """The domain as people call it."""
        return f"{self.domain_namespace}/{self.domain_name}"

    @property
    def clique_name(self) -> str:
        """The name of the clique's object."""
        return clique_name(self.domain_uid, self.clique)

    @property
    def configuration(self) -> Path:
        """The configuration of nvidia-imex."""
        return self.folder / "imexd.cfg"

    @property
    def nodes(self) -> Path:
        """The list of nodes that nvidia-imex reads at its start."""
        return self.folder / "nodes.cfg"

    def member(self, index: int, *, ready: bool) -> Member:
        """Give the row of this node."""
        return Member(self.node, self.pod_ip, self.clique, index, ready)

    def describe(self) -> str:
        """Return all settings as one JSON object, for the first line of the log."""
        known = {each.name: getattr(self, each.name) for each in fields(self)}
        return json.dumps(
            {**known, "feature_gates": self.feature_gates.spelled()}, default=str, sort_keys=True
        )

    def check(self) -> None:
        """Raise NodeUnusable for what no retry can mend."""
        if not self.domain_uid:
            raise NodeUnusable(
                f"{ENV_DOMAIN_UID} is not set: CDI container edits did not apply. The container must hold the claim "
                "of its pod, and the container runtime must have CDI enabled (containerd 2, or 1.7 with enable_cdi)"
            )
        if not self.clique:
            return
        if not self.has_cliques and not self.domain_name:
            raise NodeUnusable(
                "--compute-domain-name is empty: without ComputeDomainCliques, rows are in its status"
            )
        try:
            ipaddress.ip_address(self.pod_ip)
        except ValueError:
            raise NodeUnusable(
                f"--pod-ip {self.pod_ip!r}: expected the IP address of this pod, status.podIP in its manifest"
            ) from None
