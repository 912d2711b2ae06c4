"""The slices of a driver as the API server has them: what the watch told, and what was just written."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from claimwright.dra.slices import share_leaves

# How long an own write may stay unseen by the watch before it is taken as deleted meanwhile.
_UNSEEN_SECONDS: Final = 10.0


class SliceStore:
    """Thread-safe; own writes are visible at once, so that a slow watch never leads to a second write."""

    def __init__(self, *, relevant: Callable[[Mapping[str, Any]], bool]) -> None:
        self._relevant = relevant
        self._slices: dict[str, dict[str, Any]] = {}
        self._written: dict[str, float] = {}
        self._lock = threading.Lock()

    def pools(self) -> dict[str, list[dict[str, Any]]]:
        """Give the known slices by pool."""
        found: dict[str, list[dict[str, Any]]] = {}
        with self._lock:
            for item in self._slices.values():
                found.setdefault(item["spec"]["pool"]["name"], []).append(item)
        return found

    def changed(self, kind: str, item: dict[str, Any]) -> bool:
        """Take in an event of the watch, which owns `item` from now on; says whether it told anything new."""
        name = item["metadata"]["name"]
        _slim(item)
        with self._lock:
            known = self._slices.get(name)
            if kind == "DELETED":
                if known is None or known["metadata"]["uid"] != item["metadata"]["uid"]:
                    return False
                self._slices.pop(name)
                self._written.pop(name, None)
                return True
            self._written.pop(name, None)
            if not self._relevant(item) or (known is not None and _version(known) > _version(item)):
                return False
            self._slices[name] = item  # also where it is known: the follower keeps it, and one copy is enough
            return known is None or _version(known) < _version(item)

    def written(self, item: dict[str, Any]) -> None:
        """Take in the answer to an own write."""
        name = item["metadata"]["name"]
        _slim(item)
        with self._lock:
            self._slices[name] = item
            self._written[name] = time.monotonic()

    def gone(self, name: str) -> None:
        """Take in that a slice does not exist."""
        with self._lock:
            self._slices.pop(name, None)
            self._written.pop(name, None)

    def listed(self, names: set[str]) -> bool:
        """Take in a complete list; slices that it lacks are gone unless just written. Says if any went."""
        now = time.monotonic()
        with self._lock:
            gone = [
                name
                for name in self._slices
                if name not in names and now - self._written.get(name, float("-inf")) > _UNSEEN_SECONDS
            ]
            for name in gone:
                del self._slices[name]
                self._written.pop(name, None)
        return bool(gone)


def _slim(item: dict[str, Any]) -> None:
    """Leave out what nobody here reads, and let equal values be one object: slices stay for the process's life."""
    item["metadata"].pop("managedFields", None)  # a server keeps its own where a write has none
    share_leaves(item["spec"])


def _version(item: Mapping[str, Any]) -> int:
    # Comparable as numbers by KEP-5504; an API server that gives something else is believed in watch order.
    text = str(item["metadata"].get("resourceVersion"))
    return int(text) if text.isdecimal() else 0
