"""The clique's object in the API server: followed, and this node's row in it written.

Each daemon applies its own row under a field manager of its own (server-side apply), so rows never conflict, and a
daemon that lets its row go takes nothing else with it. The first one thereby creates the object; its owners are the
pods of its daemons, so that it goes with the last of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from claimwright.dra.kube import Kube, Reflector
from claimwright.driver.computedomain.daemon.rows import Members, members_of
from claimwright.driver.computedomain.daemon.settings import DaemonSettings
from claimwright.driver.computedomain.resources import CLIQUE, CLIQUES, DOMAIN, Member

_LONGEST_MANAGER: Final = 128  # characters; metav1 limits them


class Roster(Protocol):
    """Who is in the clique."""

    def members(self) -> Members:
        """Give the rows as they were last seen, own writes included."""
        ...

    async def write(self, row: Member) -> Members:
        """Write the own row and give all rows as they are after that; raises KubeError."""
        ...

    async def remove(self) -> bool:
        """Remove the own row, unless it is another pod's by now; tell whether there was one. Raises KubeError."""
        ...


class CliqueRoster:
    """The rows of a ComputeDomainClique; `changed` is called from another thread."""

    def __init__(self, kube: Kube, settings: DaemonSettings, changed: Callable[[], None]) -> None:
        self._kube = kube
        self._settings = settings
        self._changed = changed
        self._manager = _manager(settings.node)
        self._record: Mapping[str, Any] | None = None
        self._version = 0
        self._wrote = False
        self._known = threading.Lock()
        self._writing = threading.Lock()  # taken before `_known`
        self._reflector = Reflector(
            kube,
            CLIQUES,
            namespace=settings.pod_namespace,
            field_selector=f"metadata.name={settings.clique_name}",
            on_change=self._see,
            on_relist=self._list,
            last_backoff_seconds=6.0,
        )

    def start(self) -> None:
        """Begin to follow the object."""
        self._reflector.start()

    def stop(self) -> None:
        """Follow it no more."""
        self._reflector.stop()

    @property
    def synced(self) -> bool:
        """Whether the rows are known."""
        return self._reflector.synced.is_set()

    def members(self) -> Members:
        """Give the rows as they were last seen, own writes included."""
        return members_of(self._record)

    async def write(self, row: Member) -> Members:
        """Apply the own row and give all rows as they are after that; raises KubeError."""
        return members_of(await asyncio.to_thread(self._write, row))

    async def remove(self) -> bool:
        """Apply no row, unless it is another pod's by now; tell whether there was one. Raises KubeError."""
        return await asyncio.to_thread(self._remove)

    def _write(self, row: Member) -> Mapping[str, Any]:
        with self._writing:
            self._wrote = True
            record = self._apply({}, {"daemons": [row.row(named="nodeName")]})
            self._take(record, record)
            return record

    def _remove(self) -> bool:
        # A write whose task was cancelled may be under way: its row has to be known, or it would stay.
        with self._writing:
            if self._record is None or not self._is_ours(self.members().get(self._settings.node)):
                return False
            # With the uid, or the apply would bring a clique back that is gone with its domain.
            record = self._apply({"uid": self._record["metadata"]["uid"]}, {})
            self._wrote = False
            self._take(record, record)
            return True

    def _is_ours(self, found: Member | None) -> bool:
        # A write whose answer was lost may have happened; a row with another address is a later pod's on this node.
        return self._wrote if found is None else found.address == self._settings.pod_ip

    def _apply(self, metadata: Mapping[str, Any], rows: Mapping[str, Any]) -> dict[str, Any]:
        settings = self._settings
        owner = {"apiVersion": "v1", "kind": "Pod", "name": settings.pod, "uid": settings.pod_uid}
        body = {
            "apiVersion": CLIQUES.api_version,
            "kind": CLIQUES.kind,
            "metadata": {
                "name": settings.clique_name,
                "namespace": settings.pod_namespace,
                "labels": {DOMAIN: settings.domain_uid, CLIQUE: settings.clique},
                "ownerReferences": [owner],
                **metadata,
            },
            **rows,
        }
        return self._kube.patch(
            CLIQUES,
            settings.clique_name,
            body,
            namespace=settings.pod_namespace,
            kind="apply",
            field_manager=self._manager,
            force=True,  # the row of this node is nobody else's
        )

    def _see(self, kind: str, record: dict[str, Any]) -> None:
        if self._take(record, None if kind == "DELETED" else record):
            self._changed()

    def _list(self) -> None:
        # What is missing in a list is gone, however new the answer that told of it. If a write came in between, the
        # watch that follows the list tells of that.
        key = (self._settings.pod_namespace, self._settings.clique_name)
        with self._known:
            self._record = self._reflector.items().get(key)
            self._version = int(self._record["metadata"]["resourceVersion"]) if self._record else 0
        self._changed()

    def _take(self, record: Mapping[str, Any], current: Mapping[str, Any] | None) -> bool:
        # A watch may tell late what the answer to a write has told already; versions are ordered (KEP-5504).
        version = int(record["metadata"]["resourceVersion"])
        with self._known:
            if version < self._version:
                return False
            self._version, self._record = version, current
            return True


def _manager(node: str) -> str:
    name = f"compute-domain-daemon-{node}"
    return (
        name if len(name) <= _LONGEST_MANAGER else f"{name[:63]}-{hashlib.sha256(node.encode()).hexdigest()}"
    )
