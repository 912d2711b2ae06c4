"""Objects of the fake API server: enough of Kubernetes' storage rules for a kubelet to be tested against.

Kept: uids, resource versions, watches from a version, field selectors, merge patches with merge keys, uid
preconditions, graceful deletion of pods. Left out: validation, defaulting, access control, pagination.
"""

from __future__ import annotations

import copy
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]
Path = str  # collection path without the namespace part, plus namespace and name: see `Key`
Key = tuple[str, str, str]  # collection, namespace, name
Event = tuple[int, str, Key, Object]

_MERGE_KEYS = {"conditions": "type", "podIPs": "ip", "hostIPs": "ip", "addresses": "type"}


class Refused(Exception):
    """A request that gets an error answer."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


class Store:
    """All objects, and every change so far in order."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._objects: dict[Key, Object] = {}
        self._events: list[Event] = []
        self._version = 0

    @property
    def version(self) -> str:
        """The version of the latest change."""
        return str(self._version)

    def get(self, key: Key) -> Object:
        """Return a copy of an object."""
        with self.changed:
            if key not in self._objects:
                raise Refused(404, "NotFound", f"{key[0]} {key[2]!r} not found")
            return copy.deepcopy(self._objects[key])

    def choose(self, collection: str, namespace: str, selector: str) -> list[Object]:
        """Return copies of the objects of a collection."""
        with self.changed:
            return [copy.deepcopy(item) for key, item in self._chosen(collection, namespace, selector)]

    def create(self, collection: str, namespace: str, item: Object) -> Object:
        """Add an object."""
        with self.changed:
            item = copy.deepcopy(item)
            metadata = item.setdefault("metadata", {})
            if "name" not in metadata:
                metadata["name"] = metadata.get("generateName", "") + uuid.uuid4().hex[:5]
            if namespace:
                metadata["namespace"] = namespace
            key = (collection, namespace, metadata["name"])
            if key in self._objects:
                raise Refused(409, "AlreadyExists", f"{collection} {metadata['name']!r} already exists")
            metadata.setdefault("uid", str(uuid.uuid4()))
            metadata["creationTimestamp"] = _now()
            metadata["generation"] = 1
            return self._write("ADDED", key, item)

    def change(self, key: Key, change: Callable[[Object], Object], *, uid: str | None = None) -> Object:
        """Replace an object by what `change` makes of it."""
        with self.changed:
            old = self.get(key)
            if uid is not None and uid != old["metadata"]["uid"]:
                raise Refused(409, "Conflict", f"Precondition failed: UID in precondition: {uid}")
            new = change(copy.deepcopy(old))
            if new == old:
                return old
            return self._write("MODIFIED", key, new)

    def delete(self, key: Key, *, uid: str | None = None, grace: int | None = None) -> Object:
        """Delete an object; a bound pod with a grace period is only marked."""
        with self.changed:
            item = self.get(key)
            if uid is not None and uid != item["metadata"]["uid"]:
                raise Refused(409, "Conflict", f"Precondition failed: UID in precondition: {uid}")
            if key[0] == "pods" and item.get("spec", {}).get("nodeName") and grace != 0:
                return self._mark(key, item, grace)
            del self._objects[key]
            return self._note("DELETED", key, item)

    def delete_all(self, collection: str, namespace: str, selector: str) -> None:
        """Delete every object that a selector chooses."""
        with self.changed:
            for key, _ in self._chosen(collection, namespace, selector):
                self.delete(key, grace=0)

    def events_after(self, version: int, collection: str, namespace: str, selector: str) -> list[Event]:
        """Return the changes that a watch from `version` has to tell; the caller holds `changed`."""
        return [
            event
            for event in self._events
            if event[0] > version
            and event[2][0] == collection
            and namespace in ("", event[2][1])
            and matches(event[3], selector)
        ]

    def _mark(self, key: Key, item: Object, grace: int | None) -> Object:
        metadata = item["metadata"]
        if "deletionTimestamp" in metadata:
            return item
        seconds = grace if grace is not None else item["spec"].get("terminationGracePeriodSeconds", 30)
        metadata |= {"deletionTimestamp": _now(), "deletionGracePeriodSeconds": seconds}
        return self._write("MODIFIED", key, item)

    def _chosen(self, collection: str, namespace: str, selector: str) -> list[tuple[Key, Object]]:
        return [
            (key, item)
            for key, item in self._objects.items()
            if key[0] == collection and namespace in ("", key[1]) and matches(item, selector)
        ]

    def _write(self, kind: str, key: Key, item: Object) -> Object:
        self._objects[key] = item
        return self._note(kind, key, item)

    def _note(self, kind: str, key: Key, item: Object) -> Object:
        self._version += 1
        item["metadata"]["resourceVersion"] = str(self._version)
        self._events.append((self._version, kind, key, copy.deepcopy(item)))
        self.changed.notify_all()
        return copy.deepcopy(item)


def merge(target: Any, patch: Any, field: str = "") -> Any:  # noqa: ANN401  # JSON of any shape
    """Merge a patch into a value: null removes, objects merge, lists with a merge key merge by it."""
    if isinstance(patch, dict):
        merged = dict(target) if isinstance(target, dict) else {}
        for key, value in patch.items():
            if value is None:
                merged.pop(key, None)
            else:
                merged[key] = merge(merged.get(key), value, key)
        return merged
    if isinstance(patch, list) and field in _MERGE_KEYS:
        return _merge_list(target or [], patch, _MERGE_KEYS[field])
    return patch


def _merge_list(target: list[Object], patch: list[Object], merge_key: str) -> list[Object]:
    merged = {item[merge_key]: item for item in target}
    for item in patch:
        merged[item[merge_key]] = merge(merged.get(item[merge_key]), item)
    return list(merged.values())


def matches(item: Object, selector: str) -> bool:
    """Say whether an object fits a field selector."""
    return all(_fits(item, term) for term in selector.split(",") if term)


def _fits(item: Object, term: str) -> bool:
    if "!=" in term:
        path, value = term.split("!=")
        return _field(item, path) != value
    path, value = term.replace("==", "=").split("=")
    return _field(item, path) == value


def _field(item: Object, path: str) -> str:
    found: Any = item
    for part in _parts(path):
        found = found.get(part, {}) if isinstance(found, dict) else {}
    return "" if found == {} else str(found)


def _parts(path: str) -> Iterator[str]:
    yield from path.split(".")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
