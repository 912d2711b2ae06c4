"""The objects of the fake API: enough of Kubernetes' storage rules to test a driver or a kubelet against.

Kept: uids, resource versions, watches from a version and their end, field and label selectors, uid preconditions,
finalizers, graceful deletion of bound pods. Left out: validation, defaulting, admission, access control, pagination.
"""

from __future__ import annotations

import bisect
import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from claimwright.dra.testing.objects import Event, Key, Object, Refused
from claimwright.dra.testing.selectors import has_labels, matches

_FIRST_VERSION = 100  # so that a test can ask for one that is too old
# Changes that watches may still ask for; an API server forgets after five minutes, a soak must not fill the memory.
_CHANGES_KEPT = 20_000


@dataclass(frozen=True)
class Selection:
    """A collection, of one namespace or of all (the empty string), by a field and a label selector."""

    collection: str
    namespace: str = ""
    selector: str = ""
    labels: str = ""

    def has(self, key: Key, item: Object) -> bool:
        """Say whether an object belongs to it."""
        here = key.collection == self.collection and self.namespace in ("", key.namespace)
        return here and matches(item, self.selector) and has_labels(item, self.labels)

    def told(self, event: Event) -> Event | None:
        """Give a change as a watch tells it: what comes in is ADDED and what leaves DELETED; None of others."""
        before = event.old is not None and self.has(event.key, event.old)
        now = event.type != "DELETED" and self.has(event.key, event.item)
        if not (before or now):
            return None
        return event._replace(type="DELETED" if not now else "MODIFIED" if before else "ADDED")


class Store:
    """All objects, and the last changes in order; thread-safe.

    A stored object is never altered, only replaced: what is handed out needs no copy, and callers alter none.
    """

    def __init__(self, *, changes_kept: int = _CHANGES_KEPT) -> None:
        self._changes_kept = changes_kept
        self._changed = threading.Condition()
        self._objects: dict[Key, Object] = {}
        self._log: list[Event] = []
        self._version = self._oldest = _FIRST_VERSION
        self._watch_epoch = 0
        self._followed: list[int] = []  # the epoch of each running watch
        self._open = True

    def get(self, key: Key) -> Object:
        """Give an object; refused with 404."""
        found = self._objects.get(key)
        if found is None:
            raise Refused(404, "NotFound", f'{key.collection} "{key.name}" not found')
        return found

    def choose(self, selection: Selection) -> tuple[list[Object], int]:
        """Give the objects by namespace and name, and the version at which they were so."""
        with self._changed:
            return [item for _, item in self._chosen(selection)], self._version

    def create(self, key: Key, item: Object) -> Object:
        """Add an object; refused with 409 where the name is taken."""
        with self._changed:
            if key in self._objects:
                raise Refused(409, "AlreadyExists", f'{key.collection} "{key.name}" already exists')
            return self._write(key, item, None)

    def put(self, key: Key, item: Object) -> Object:
        """Add or overwrite an object; it keeps its uid."""
        with self._changed:
            return self._write(key, item, self._objects.get(key))

    def change(self, key: Key, change: Callable[[Object], Object]) -> Object:
        """Replace an object by what `change` makes of it; what changes nothing is no write."""
        with self._changed:
            old = self.get(key)
            new = change(old)
            return old if new == old else self._write(key, new, old)

    def change_or_create(self, key: Key, change: Callable[[Object | None], Object]) -> Object:
        """Replace an object by what `change` makes of it, or of nothing."""
        with self._changed:
            if key in self._objects:
                return self.change(key, change)
            return self._write(key, change(None), None)

    def delete(self, key: Key, *, uid: str | None = None, grace_seconds: int | None = None) -> Object:
        """Delete an object; a bound pod is only marked, unless the grace is 0 (None: the pod's own)."""
        with self._changed:
            item = self.get(key)
            expect_uid(key, item, uid)
            if key.collection == "pods" and item.get("spec", {}).get("nodeName") and grace_seconds != 0:
                return self._mark(key, item, grace_seconds)
            if item["metadata"].get("finalizers"):
                return self._mark(key, item, 0)
            return self._remove(key, item)

    def delete_all(self, selection: Selection) -> None:
        """Delete the objects of a selection at once."""
        with self._changed:
            for key, _ in self._chosen(selection):
                self.delete(key, grace_seconds=0)

    def follow(self, selection: Selection, after: int, seconds: float) -> Iterator[Event]:
        """Give changes as they come, for so long or until watches end; 410 for a forgotten version.

        After version 0 it begins with what there is, as ADDED.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            epoch, start = self._watch_epoch, after or self._version
            known = [] if after else list(self._chosen(selection))
        if start < self._oldest:
            raise Refused(410, "Expired", f"too old resource version: {after} ({self._oldest})")
        self._followed.append(epoch)
        try:
            yield from (Event(start, "ADDED", key, item) for key, item in known)
            over = False
            while not over:
                with self._changed:
                    self._wait(start, epoch, deadline)
                    news, start = self._after(start), self._version
                    over = epoch != self._watch_epoch or not self._open or time.monotonic() >= deadline
                yield from (told for event in news if (told := selection.told(event)) is not None)
        finally:
            self._followed.remove(epoch)

    @property
    def watches(self) -> int:
        """How many watches run, those that `drop_watches` has ended not counted."""
        with self._changed:
            return self._followed.count(self._watch_epoch)

    def drop_watches(self, *, forget: bool = False) -> None:
        """End all running watches; with `forget`, older resource versions are gone as well."""
        with self._changed:
            self._watch_epoch += 1
            if forget:
                self._version += 1
                self._oldest = self._version
            self._changed.notify_all()

    def close(self) -> None:
        """End all watches, also those to come."""
        with self._changed:
            self._open = False
            self._changed.notify_all()

    def _wait(self, version: int, epoch: int, deadline: float) -> None:
        self._changed.wait_for(
            lambda: self._version > version or self._watch_epoch != epoch or not self._open,
            max(0.0, deadline - time.monotonic()),
        )

    def _after(self, version: int) -> list[Event]:
        first = bisect.bisect_right(self._log, version, key=lambda event: event.version)
        return list(itertools.islice(self._log, first, None))

    def _chosen(self, selection: Selection) -> list[tuple[Key, Object]]:
        return [(key, item) for key, item in sorted(self._objects.items()) if selection.has(key, item)]

    def _mark(self, key: Key, item: Object, grace_seconds: int | None) -> Object:
        if "deletionTimestamp" in item["metadata"]:
            return item
        own = item.get("spec", {}).get("terminationGracePeriodSeconds", 30)
        seconds = own if grace_seconds is None else grace_seconds
        metadata = {**item["metadata"], "deletionTimestamp": _now(), "deletionGracePeriodSeconds": seconds}
        return self._write(key, {**item, "metadata": metadata}, item)

    def _write(self, key: Key, item: Object, old: Object | None) -> Object:
        given = item.get("metadata") or {}
        known = old["metadata"] if old else given
        metadata = {
            "creationTimestamp": known.get("creationTimestamp") or _now(),
            "generation": 1,
            **given,
            "name": key.name,
            **({"namespace": key.namespace} if key.namespace else {}),
            "uid": known.get("uid") or str(uuid.uuid4()),
        }
        whole = {**item, "metadata": metadata}
        if old and "deletionTimestamp" in metadata and _let_go(old, whole):
            return self._remove(key, old)
        return self._note("MODIFIED" if old else "ADDED", key, whole, old)

    def _remove(self, key: Key, item: Object) -> Object:
        del self._objects[key]
        return self._note("DELETED", key, {**item, "metadata": dict(item["metadata"])}, item)

    def _note(self, kind: str, key: Key, item: Object, old: Object | None) -> Object:
        self._version += 1
        item["metadata"]["resourceVersion"] = str(self._version)
        if kind != "DELETED":
            self._objects[key] = item
        self._log.append(Event(self._version, kind, key, item, old))
        if len(self._log) > 2 * self._changes_kept:
            self._oldest = self._log[-self._changes_kept - 1].version
            del self._log[: -self._changes_kept]
        self._changed.notify_all()
        return item


def _let_go(old: Object, new: Object) -> bool:
    """Say whether a write took the last finalizer away."""
    return bool(old["metadata"].get("finalizers")) and not new["metadata"].get("finalizers")


def expect_uid(key: Key, item: Object, uid: str | None) -> None:
    """Refuse with 409 where another object has the name now."""
    if uid is not None and uid != item["metadata"]["uid"]:
        raise Refused(
            409, "Conflict", f'{key.collection} "{key.name}" has uid {item["metadata"]["uid"]}, not {uid}'
        )


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
