"""Who is in a domain: what its daemons wrote and what the kubelets say of their pods, put together; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from claimwright.driver.computedomain.resources import CLIQUE, Clique, ComputeDomain, Member

Object = dict[str, Any]


@dataclass(frozen=True)
class DaemonPod:
    """The pod of a daemon; `clique` is None until the daemon has told, and empty where no fabric is."""

    node: str
    address: str
    clique: str | None
    ready: bool
    leaving: bool

    @classmethod
    def from_object(cls, pod: Object) -> DaemonPod | None:
        """Read a Pod; None of one that has no node yet, or whose containers have ended for good."""
        metadata, status = pod["metadata"], pod.get("status") or {}
        node = (pod.get("spec") or {}).get("nodeName")
        if not node or status.get("phase") in ("Succeeded", "Failed"):
            return None
        clique = (metadata.get("labels") or {}).get(CLIQUE)
        conditions = status.get("conditions") or ()
        return cls(
            node=str(node),
            address=str(status.get("podIP", "")),
            clique=None if clique is None else str(clique),
            ready=any(each["type"] == "Ready" and each["status"] == "True" for each in conditions),
            leaving="deletionTimestamp" in metadata,
        )


def pods_of(items: Iterable[Object]) -> list[DaemonPod]:
    """Read the pods that count."""
    return [pod for item in items if (pod := DaemonPod.from_object(item)) is not None]


def members_of(cliques: Iterable[Clique], pods: Sequence[DaemonPod]) -> tuple[Member, ...]:
    """Return the nodes of a domain in a fixed order: rows that have a pod, and nodes without a fabric."""
    places = {pod.node: pod for pod in pods}
    joined = {}
    # By name: of a node that is in two of them by mistake the same row counts, however they come.
    for row in (row for clique in sorted(cliques, key=lambda each: each.name) for row in clique.members):
        pod = places.get(row.node)
        if pod is not None and _stands(row, pod):
            # A daemon that was killed leaves a row that says Ready; kubelet and node lifecycle know better.
            joined[row.node] = replace(row, ready=row.ready and pod.ready)
    alone = {
        pod.node: Member(pod.node, pod.address, clique="", index=-1, ready=pod.ready)
        for pod in pods
        if pod.clique == "" and not pod.leaving
    }
    return tuple(sorted((joined | alone).values(), key=lambda row: (row.clique, row.index, row.node)))


def as_written(members: Iterable[Member], written: Iterable[Member]) -> tuple[Member, ...]:
    """Return members with the rows of daemons as these wrote them.

    Where both are in one object, a row that the controller changed would be owned by two, and stay, cut down to what it
    changed, when its daemon takes it away.
    """
    known = {row.node: row for row in written}
    return tuple(known[row.node] if row.clique else row for row in members)


def stale_rows(clique: Clique, pods: Iterable[DaemonPod]) -> frozenset[str]:
    """Return the nodes in a clique that have no daemon any more, or one that is in another clique now."""
    places = {pod.node: pod for pod in pods}
    return frozenset(row.node for row in clique.members if not _stands(row, places.get(row.node)))


def is_ready(domain: ComputeDomain, members: Sequence[Member]) -> bool:
    """Tell whether the nodes that were asked for are there, and none of all is unwell."""
    return len(members) >= domain.num_nodes and all(member.ready for member in members)


def _stands(row: Member, pod: DaemonPod | None) -> bool:
    return pod is not None and pod.clique in (None, row.clique)
