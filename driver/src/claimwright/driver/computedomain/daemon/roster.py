"""The rows of a clique in the API server: followed, and this node's row written.

Each daemon applies its own row under a field manager of its own (server-side apply), so rows never conflict, and a
daemon that lets its row go takes nothing else with it.
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
from claimwright.driver.computedomain.daemon.sheets import sheet_of
from claimwright.driver.computedomain.resources import Member

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


class ApiRoster:
    """The rows of a clique's sheet; `changed` is called from another thread."""

    def __init__(self, kube: Kube, settings: DaemonSettings, changed: Callable[[], None]) -> None:
        self._kube = kube
        self._settings = settings
        self._changed = changed
        self._manager = _manager(settings.node)
        self._sheet = sheet_of(settings)
        self._record: Mapping[str, Any] | None = None
        self._version = 0
        self._wrote = False
        self._known = threading.Lock()
        self._writing = threading.Lock()  # taken before `_known`
        self._reflector = Reflector(
            kube,
            self._sheet.resource,
            namespace=self._sheet.namespace,
            field_selector=f"metadata.name={self._sheet.name}",
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

    @property
    def least(self) -> int:
        """How many nodes there must be before addresses are told."""
        record = self._record
        return 0 if record is None else self._sheet.least(record)

    def members(self) -> Members:
        """Give the rows as they were last seen, own writes included."""
        return self._members(self._record)

    async def write(self, row: Member) -> Members:
        """Apply the own row and give all rows as they are after that; raises KubeError."""
        return self._members(await asyncio.to_thread(self._write, row))

    async def remove(self) -> bool:
        """Apply no row, unless it is another pod's by now; tell whether there was one. Raises KubeError."""
        return await asyncio.to_thread(self._remove)

    def _members(self, record: Mapping[str, Any] | None) -> Members:
        return {} if record is None else members_of(self._sheet.rows(record), self._settings.clique)

    def _write(self, row: Member) -> Mapping[str, Any]:
        with self._writing:
            self._wrote = True
            return self._apply(row, None)

    def _remove(self) -> bool:
        # A write whose task was cancelled may be under way: its row has to be known, or it would stay.
        with self._writing:
            if self._record is None or not self._is_ours(self.members().get(self._settings.node)):
                return False
            # With the uid, or the apply would bring a clique back that is gone with its domain.
            self._apply(None, self._record["metadata"]["uid"])
            self._wrote = False
            return True

    def _is_ours(self, found: Member | None) -> bool:
        # A write whose answer was lost may have happened; a row with another address is a later pod's on this node.
        return self._wrote if found is None else found.address == self._settings.pod_ip

    def _apply(self, row: Member | None, uid: str | None) -> Mapping[str, Any]:
        sheet = self._sheet
        configuration = sheet.configuration(row, uid)
        metadata = {"name": sheet.name, "namespace": sheet.namespace, **configuration["metadata"]}
        kind = {"apiVersion": sheet.resource.api_version, "kind": sheet.resource.kind}
        record = self._kube.patch(
            sheet.resource,
            sheet.name,
            {**kind, **configuration, "metadata": metadata},
            namespace=sheet.namespace,
            subresource=sheet.subresource,
            kind="apply",
            field_manager=self._manager,
            force=True,  # the row of this node is nobody else's
        )
        self._take(record, record)
        return record

    def _see(self, kind: str, record: dict[str, Any]) -> None:
        if self._take(record, None if kind == "DELETED" else record):
            self._changed()

    def _list(self) -> None:
        # What is missing in a list is gone, however new the answer that told of it. If a write came in between, the
        # watch that follows the list tells of that.
        with self._known:
            self._record = self._reflector.items().get((self._sheet.namespace, self._sheet.name))
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
