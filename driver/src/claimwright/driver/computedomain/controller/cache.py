"""Local copies of API objects by the domain that they belong to."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from claimwright.dra.kube import ChangeType, Key, Kube, Reflector, Resource
from claimwright.driver.computedomain.resources import DOMAIN

Object = dict[str, Any]


class Cache:
    """The objects of a kind that carry a domain's label, or with `uid_of` what that says; tells whose changed.

    `wake` gets the uid of each domain of which something changed, on the thread of the reflector.
    """

    def __init__(
        self,
        kube: Kube,
        resource: Resource,
        wake: Callable[[str], None],
        *,
        namespace: str | None = None,
        uid_of: Callable[[Object], str] | None = None,
        trim: Callable[[Object], Object] | None = None,
    ) -> None:
        self.what = f"{resource.plural} of {namespace}" if namespace else resource.plural
        self._uid_of = uid_of or _labelled
        self._wake = wake
        self._lock = threading.Lock()
        self._uids: dict[Key, str] = {}
        self._items: defaultdict[str, dict[Key, Object]] = defaultdict(dict)
        self._reflector = Reflector(
            kube,
            resource,
            namespace=namespace,
            label_selector=None if uid_of else DOMAIN,
            on_change=self._change,
            trim=trim or without_managers,
        )

    @property
    def synced(self) -> threading.Event:
        """Set when everything was read once."""
        return self._reflector.synced

    def start(self) -> None:
        """Start following; returns at once."""
        self._reflector.start()

    def stop(self, *, timeout_seconds: float) -> None:
        """Stop following, and wait for a request that is under way no longer than that."""
        self._reflector.stop(timeout_seconds=timeout_seconds)

    def of(self, uid: str) -> list[Object]:
        """Return the objects of a domain by namespace and name; treat them as read-only."""
        with self._lock:
            return [item for _, item in sorted(self._items.get(uid, {}).items(), key=lambda pair: pair[0])]

    def uids(self) -> Iterable[str]:
        """Return the uids of all domains of which there is something."""
        with self._lock:
            return tuple(self._items)

    def _change(self, kind: ChangeType, item: Object) -> None:
        key = (item["metadata"].get("namespace", ""), item["metadata"]["name"])
        with self._lock:
            touched = {uid for uid in (self._forget(key), self._keep(kind, key, item)) if uid is not None}
        for uid in touched:
            self._wake(uid)

    def _forget(self, key: Key) -> str | None:
        uid = self._uids.pop(key, None)
        if uid is not None:
            del self._items[uid][key]
            if not self._items[uid]:
                del self._items[uid]
        return uid

    def _keep(self, kind: ChangeType, key: Key, item: Object) -> str | None:
        if kind == "DELETED":
            return None
        uid = self._uids[key] = self._uid_of(item)
        self._items[uid][key] = item
        return uid


def _labelled(item: Object) -> str:
    return str((item["metadata"].get("labels") or {}).get(DOMAIN, ""))


def without_managers(item: Object) -> Object:
    """Return the object without who wrote which field: a third of it, never read, and kept by writes without it."""
    metadata = {key: value for key, value in item["metadata"].items() if key != "managedFields"}
    return {**item, "metadata": metadata}
