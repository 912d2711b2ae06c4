"""Addresses inside a cluster: the same in every cluster, because each has a network of its own."""

from __future__ import annotations

from dataclasses import dataclass

NETWORK_PREFIX = 16
CONTROL_PLANE = "10.88.0.1"
SERVICE_RANGE = "10.96.0.0/16"
# The first address of the range: where `kubernetes.default` lives. The control plane holds it as its own, so that
# pods reach the API server at the usual place although no kube-proxy runs.
KUBERNETES_SERVICE = "10.96.0.1"
POD_RANGE = "10.244.0.0/16"
API_PORT = 443
BRIDGE = "cluster0"


@dataclass(frozen=True)
class NodePlace:
    """Where the node with this index (from 0) is."""

    index: int

    @property
    def name(self) -> str:
        """The node's name, such as node-1."""
        return f"node-{self.index + 1}"

    @property
    def address(self) -> str:
        """The node's own address."""
        return f"10.88.1.{self.index + 1}"

    @property
    def pod_range(self) -> str:
        """The addresses of its pods."""
        return f"10.244.{self.index}.0/24"

    @property
    def link(self) -> str:
        """The name of the bridge's end of its cable."""
        return f"node{self.index + 1}"
