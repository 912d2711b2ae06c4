"""The cluster and the node under measure: reached, looked at, described; errors say what is missing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claimwright.dra.errors import DraError
from claimwright.dra.kube import NODES, RESOURCE_CLAIMS, RESOURCE_SLICES, Kube, KubeError, NotFound
from claimwright.reports.errors import OptionError, TargetError
from claimwright.reports.measuring.slices import Pools, PublishedDevice, read_pools, usable


@dataclass(frozen=True, slots=True)
class Target:
    """A driver on a node of a reachable cluster."""

    kube: Kube
    driver: str
    node: str

    def pools(self) -> Pools:
        """Read what the driver has published for the node."""
        return read_pools(self.kube.list(RESOURCE_SLICES)["items"], driver=self.driver, node=self.node)

    def free_devices(self) -> list[PublishedDevice]:
        """Read which devices can be prepared at the same time; none is an error that says why."""
        pools = self.pools()
        if not pools.devices:
            raise TargetError(
                f"driver {self.driver!r} has no device in the slices of node {self.node!r}; "
                f"published there: {', '.join(sorted(self._published())) or 'nothing'}. "
                "Is the driver running on that node? Name another with --driver and --node"
            )
        found = usable(pools, self.kube.list(RESOURCE_CLAIMS)["items"], driver=self.driver)
        if not found:
            raise TargetError(
                f"all {len(pools.devices)} devices of {self.driver!r} on {self.node!r} are allocated "
                "or tainted; "
                "free one, measuring never takes a device from a pod"
            )
        return found

    def node_object(self) -> dict[str, Any] | None:
        """Read the Node object; None where no kubelet made one."""
        try:
            return self.kube.get(NODES, self.node)
        except NotFound:
            return None

    def describe(self) -> dict[str, Any]:
        """Give what the cluster says about itself and the node, for the environment block."""
        info = ((self.node_object() or {}).get("status") or {}).get("nodeInfo") or {}
        wanted = {"kubeletVersion", "containerRuntimeVersion", "kernelVersion", "osImage"}
        return {
            "kubernetes": json.loads(self.kube.raw("/version"))["gitVersion"],
            "driver": self.driver,
            "node": self.node,
            "node_info": {name: value for name, value in info.items() if name in wanted and value},
        }

    def _published(self) -> Iterable[str]:
        slices = self.kube.list(RESOURCE_SLICES)["items"]
        return {
            f"{entry['spec']['driver']} on {entry['spec'].get('nodeName', 'no node')}" for entry in slices
        }


def connect(kubeconfig: Path, *, driver: str, node: str) -> Target:
    """Reach the cluster; what stands in the way is named with the address and the remedy."""
    try:
        kube = Kube.from_kubeconfig(kubeconfig, user_agent="claimwright-report")
    except (DraError, OSError) as error:
        raise OptionError(f"cannot use kubeconfig {kubeconfig}: {error}") from error
    try:
        kube.server_version()
    except KubeError as error:
        raise TargetError(
            f"cannot reach the cluster of {kubeconfig} at {kube.server}: {error}. "
            "Is it up? `claimwright cluster list` shows local ones"
        ) from error
    return Target(kube, driver, node)


def is_ready(node: dict[str, Any] | None) -> bool:
    """Say whether a Node object says Ready."""
    conditions = ((node or {}).get("status") or {}).get("conditions") or ()
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)
