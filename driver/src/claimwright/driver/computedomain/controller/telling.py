"""What the controller tells of a domain: its status, from what daemons wrote, and cliques without dead rows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

from claimwright.dra.kube import PODS, Kube, NotFound
from claimwright.driver.computedomain.controller.membership import (
    DaemonPod,
    as_written,
    is_ready,
    members_of,
    pods_of,
    stale_rows,
)
from claimwright.driver.computedomain.controller.settings import ControllerSettings
from claimwright.driver.computedomain.controller.view import View
from claimwright.driver.computedomain.resources import (
    CLIQUES,
    COMPUTE_DOMAINS,
    DOMAIN,
    NOT_READY,
    READY,
    Clique,
    ComputeDomain,
    Member,
)

Object = dict[str, Any]
logger: Final = logging.getLogger(__name__)


class Teller:
    """Writes statuses and cleans cliques; writes nothing when they are so."""

    def __init__(self, kube: Kube, view: View, settings: ControllerSettings) -> None:
        self._kube = kube
        self._view = view
        self._settings = settings

    def tell(self, record: Object, *, usable: bool) -> None:
        """Bring the status of a domain to what is known; one that is not `usable` is not Ready."""
        domain = ComputeDomain.from_object(record)
        members = self._members(domain)
        ready = usable and (self._settings.host_managed or is_ready(domain, members))
        told = members if self._settings.has_cliques else as_written(members, domain.members)
        if record.get("status") and (domain.ready, domain.members) == (ready, told):
            return
        status = {
            **(record.get("status") or {}),
            "status": READY if ready else NOT_READY,
            "nodes": [member.row(named="name") for member in told],
        }
        self._kube.replace_status(COMPUTE_DOMAINS, {**record, "status": status})
        logger.info("ComputeDomain %s: %s with %d nodes", domain, status["status"], len(members))

    def drop_stale_rows(self, uid: str) -> None:
        """Take rows out of cliques whose daemons are gone without having said so."""
        pods = pods_of(self._view.pods(uid))
        for item in self._view.cliques(uid):
            if stale_rows(Clique.from_object(item), pods):
                self._drop_rows(item["metadata"]["namespace"], item["metadata"]["name"], uid)

    def _members(self, domain: ComputeDomain) -> tuple[Member, ...]:
        if self._settings.host_managed:
            return ()
        pods = pods_of(self._view.pods(domain.uid))
        if self._settings.has_cliques:
            return members_of(map(Clique.from_object, self._view.cliques(domain.uid)), pods)
        rows = Clique("", domain.uid, tuple(row for row in domain.members if row.clique))
        if stale_rows(rows, pods):
            pods = self._pods_now(domain.uid)  # they may be news that has not come
        return members_of([rows], pods)

    def _pods_now(self, uid: str) -> list[DaemonPod]:
        selector = f"{DOMAIN}={uid}"
        lists = [
            self._kube.list(PODS, namespace=each, label_selector=selector)
            for each in self._settings.namespaces
        ]
        return pods_of(item for found in lists for item in found["items"])

    def _drop_rows(self, namespace: str, name: str, uid: str) -> None:
        """Look again, rows before pods: one that was written since has its pod, and a later write is a Conflict."""
        try:
            item = self._kube.get(CLIQUES, name, namespace=namespace)
        except NotFound:
            return
        found = self._kube.list(PODS, namespace=namespace, label_selector=f"{DOMAIN}={uid}")["items"]
        stale = stale_rows(Clique.from_object(item), pods_of(found))
        if stale:
            self._kube.replace(CLIQUES, {**item, "daemons": _without(item, stale)})
            logger.info("clique %s: took out %s, whose daemons are gone", name, ", ".join(sorted(stale)))


def _without(item: Object, nodes: frozenset[str]) -> Sequence[Object]:
    return [row for row in item.get("daemons") or () if row.get("nodeName") not in nodes]
