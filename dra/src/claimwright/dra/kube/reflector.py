"""A local copy of a kind that follows the API server: list, watch, bookmarks, re-list, back-off."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from claimwright.dra.kube.client import Kube
from claimwright.dra.kube.errors import Gone, KubeError
from claimwright.dra.kube.resources import Resource
from claimwright.dra.kube.watch import Watch, WatchEvent

_LOG: Final = logging.getLogger(__name__)

ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]
# namespace ("" where cluster-wide) and name
Key = tuple[str, str]


class Reflector:
    """Keeps `items()` equal to the server's objects and calls `on_change` for every difference.

    The callback runs on the reflector's thread, once per change and in order; after a gap the missed changes
    are told as the differences between two lists. What `trim` makes of an object, with its name, uid and version, is
    kept and told in its place. Errors are logged and retried with jitter, without end.
    """

    def __init__(
        self,
        kube: Kube,
        resource: Resource,
        *,
        on_change: Callable[[ChangeType, dict[str, Any]], None] | None = None,
        on_relist: Callable[[], None] | None = None,
        trim: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        namespace: str | None = None,
        field_selector: str | None = None,
        label_selector: str | None = None,
        watch_seconds: float = 300.0,
        first_backoff_seconds: float = 0.2,
        last_backoff_seconds: float = 10.0,
    ) -> None:
        self.synced = threading.Event()
        self.error: KubeError | None = None
        self._kube = kube
        self._resource = resource
        self._on_change = on_change or (lambda _kind, _object: None)
        self._on_relist = on_relist or (lambda: None)
        self._trim = trim or (lambda item: item)
        self._scope = {
            "namespace": namespace,
            "field_selector": field_selector,
            "label_selector": label_selector,
        }
        self._watch_seconds = watch_seconds
        self._first_backoff_seconds = first_backoff_seconds
        self._last_backoff_seconds = last_backoff_seconds
        self._items: dict[Key, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._watch: Watch | None = None
        self._thread = threading.Thread(target=self._run, name=f"reflector-{resource.plural}", daemon=True)

    def start(self) -> None:
        """Start following; returns at once, `synced` is set after the first list."""
        self._thread.start()

    def stop(self, *, timeout_seconds: float = 5.0) -> None:
        """Stop following and wait for the thread; twice is fine."""
        self._stopped.set()
        with self._lock:
            watch = self._watch
        if watch is not None:
            watch.close()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_seconds)

    def items(self) -> dict[Key, dict[str, Any]]:
        """Give the objects known now, by namespace and name; treat them as read-only."""
        with self._lock:
            return dict(self._items)

    def _run(self) -> None:
        backoff = self._first_backoff_seconds
        version: str | None = None
        while not self._stopped.is_set():
            try:
                if version is None:
                    version = self._list()
                version = self._follow(version)
                backoff = self._first_backoff_seconds
                self.error = None
            except Gone:
                version = None
            except KubeError as error:
                if self._stopped.is_set():
                    return
                self.error = error
                _LOG.warning("following %s failed, will retry: %s", self._resource.plural, error)
                self._stopped.wait(error.retry_after_seconds or backoff * random.uniform(0.5, 1.5))  # noqa: S311
                backoff = min(backoff * 2, self._last_backoff_seconds)

    def _list(self) -> str:
        found = self._kube.list(self._resource, **self._scope)
        fresh = {_key(item): self._trim(item) for item in found["items"]}
        for kind, item in self._swap(fresh):
            self._on_change(kind, item)
        self.synced.set()
        self._on_relist()
        return str(found["metadata"]["resourceVersion"])

    def _swap(self, fresh: dict[Key, dict[str, Any]]) -> list[tuple[ChangeType, dict[str, Any]]]:
        with self._lock:
            old, self._items = self._items, fresh
        gone = [item for key, item in old.items() if key not in fresh or _uid(fresh[key]) != _uid(item)]
        changes: list[tuple[ChangeType, dict[str, Any]]] = [("DELETED", item) for item in gone]
        for key, item in fresh.items():
            if key not in old or _uid(old[key]) != _uid(item):
                changes.append(("ADDED", item))
            elif _version(old[key]) != _version(item):
                changes.append(("MODIFIED", item))
        return changes

    def _follow(self, version: str) -> str:
        watch = self._kube.watch(
            self._resource, resource_version=version, timeout_seconds=self._watch_seconds, **self._scope
        )
        with self._lock:
            self._watch = watch
            if self._stopped.is_set():  # stop() came before there was a watch to close
                watch.close()
        with watch:
            for event in watch:
                if self._stopped.is_set():
                    break
                version = _version(event.object)
                self._take(event)
        with self._lock:
            self._watch = None
        return version

    def _take(self, event: WatchEvent) -> None:
        if event.type == "BOOKMARK":
            return
        item = self._trim(event.object)
        with self._lock:
            if event.type == "DELETED":
                self._items.pop(_key(item), None)
            else:
                self._items[_key(item)] = item
        self._on_change(event.type, item)


def _key(item: Mapping[str, Any]) -> Key:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _uid(item: Mapping[str, Any]) -> str:
    return str(item["metadata"].get("uid"))


def _version(item: Mapping[str, Any]) -> str:
    return str(item["metadata"]["resourceVersion"])
