"""What the fake API stores: plain dicts by key, the changes of them, and the errors that it answers."""

from __future__ import annotations

from typing import Any, NamedTuple

from claimwright.dra.kube import Resource

Object = dict[str, Any]


class Key(NamedTuple):
    """Where an object is: collection as Kubernetes writes a group resource, `pods` or `leases.a.group`."""

    collection: str
    namespace: str
    name: str


class Event(NamedTuple):
    """One change: `type` is ADDED, MODIFIED or DELETED, `item` the object after it, `old` before it."""

    version: int
    type: str
    key: Key
    item: Object
    old: Object | None = None


class Refused(Exception):
    """A request that gets an error answer, with the HTTP status and the reason that Kubernetes would give."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason

    def as_object(self) -> Object:
        """Give the Status object of the answer."""
        return {
            "kind": "Status",
            "status": "Failure",
            "code": self.status,
            "reason": self.reason,
            "message": str(self),
        }


def collection_of(group: str, plural: str) -> str:
    """Name a collection; two groups may have the same plural, as `events` do."""
    return f"{plural}.{group}" if group else plural


def key_of(resource: Resource, name: str, namespace: str = "") -> Key:
    """Give the key of an object of a kind."""
    return Key(collection_of(resource.group, resource.plural), namespace, name)
