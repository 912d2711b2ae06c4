"""What each request does to the store; watches are the server's."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote

from claimwright.dra.testing.merging import REPLACING, STRATEGIC, apply, merge
from claimwright.dra.testing.objects import Key, Object, Refused, collection_of
from claimwright.dra.testing.store import Selection, Store, expect_uid

Mutate = Callable[[Object], Object]
_PATH: Final = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/[^/]+)"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/))?/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[^/]+))?"
)
_PATCHES: Final[Mapping[str, Mapping[str, str]]] = {
    "application/merge-patch+json": REPLACING,
    "application/strategic-merge-patch+json": STRATEGIC,
}
_APPLY: Final = "application/apply-patch+yaml"


@dataclass(frozen=True)
class Request:
    """A request for objects, taken apart; `key.name` is empty where it is for a collection."""

    key: Key
    subresource: str
    query: Mapping[str, str]
    body: Object
    content: str

    @classmethod
    def parse(cls, target: str, body: Object, content: str) -> Request:
        """Read a request target; refused with 404 where it is no path of the API."""
        path, _, query = target.partition("?")
        match = _PATH.fullmatch(path)
        if match is None:
            raise Refused(404, "NotFound", f"no such path {path}")
        parts = {name: unquote(value or "") for name, value in match.groupdict().items()}
        key = Key(collection_of(parts["group"], parts["plural"]), parts["namespace"], parts["name"])
        return cls(key, parts["sub"], dict(parse_qsl(query)), body, content)

    @property
    def selection(self) -> Selection:
        """What a request for a collection is about."""
        selectors = (self.query.get("fieldSelector", ""), self.query.get("labelSelector", ""))
        return Selection(self.key.collection, self.key.namespace, *selectors)


def answer(method: str, store: Store, request: Request, mutate: Mutate) -> tuple[int, Object]:
    """Do what a request asks for; gives the status and the body, or raises Refused."""
    match method:
        case "GET":
            return 200, _read(store, request)
        case "POST":
            return 201, _create(store, request, mutate)
        case "PUT":
            return 200, store.change(request.key, lambda old: mutate(_replaced(old, request)))
        case "PATCH" if request.content == _APPLY:
            return 200, store.change_or_create(request.key, lambda old: mutate(_applied(old, request)))
        case "PATCH":
            return 200, store.change(request.key, lambda old: mutate(_patched(old, request)))
        case _:
            return 200, _delete(store, request)


def _read(store: Store, request: Request) -> Object:
    if request.key.name:
        return store.get(request.key)
    items, version = store.choose(request.selection)
    return {"kind": "List", "metadata": {"resourceVersion": str(version)}, "items": items}


def _create(store: Store, request: Request, mutate: Mutate) -> Object:
    metadata = request.body.get("metadata") or {}
    name = metadata.get("name") or metadata.get("generateName", "") + secrets.token_hex(3)[:5]
    item = {**request.body, "metadata": {**metadata, "name": name}}
    return store.create(request.key._replace(name=name), mutate(item))


def _replaced(old: Object, request: Request) -> Object:
    given = request.body.get("metadata") or {}
    _expect_version(request, old, given)
    if request.subresource:
        return {**old, request.subresource: request.body.get(request.subresource)}
    status = {"status": old["status"]} if "status" in old else {}
    return {**request.body, **status, "metadata": {**old["metadata"], **given}}


def _patched(old: Object, request: Request) -> Object:
    if request.content not in _PATCHES:
        raise Refused(
            415, "UnsupportedMediaType", f"patch of type {request.content!r}, known: {[*_PATCHES, _APPLY]}"
        )
    patch = request.body
    expect_uid(request.key, old, (patch.get("metadata") or {}).get("uid"))
    _expect_version(request, old, patch.get("metadata") or {})
    if request.subresource:
        patch = {request.subresource: patch.get(request.subresource)}
    merged: Object = merge(old, patch, _PATCHES[request.content])
    return merged


def _expect_version(request: Request, old: Object, given: Object) -> None:
    if given.get("resourceVersion") not in (None, "", old["metadata"]["resourceVersion"]):
        raise Refused(409, "Conflict", f'{request.key.collection} "{request.key.name}" was modified')


def _applied(old: Object | None, request: Request) -> Object:
    """Apply a configuration; the ones that are in force are kept where the API server keeps the names of fields."""
    manager = request.query.get("fieldManager")
    if not manager:
        raise Refused(400, "BadRequest", "apply needs a fieldManager")
    metadata = dict(request.body.get("metadata") or {})
    uid = metadata.pop("uid", None)
    if uid is not None and uid != ((old or {}).get("metadata") or {}).get("uid"):
        raise Refused(409, "Conflict", f'{request.key.collection} "{request.key.name}" is not {uid}')
    if old is None and request.subresource:
        raise Refused(404, "NotFound", f'{request.key.collection} "{request.key.name}" not found')
    wanted = {**request.body, "metadata": metadata}
    entries = ((old or {}).get("metadata") or {}).get("managedFields") or []
    owned = {(entry["manager"], entry["subresource"]): entry["fieldsV1"] for entry in entries}
    before = owned.pop((manager, request.subresource), {})
    applied: Object = apply(old or {}, before, wanted, list(owned.values()))
    owned[manager, request.subresource] = wanted
    kept = [
        {"manager": name, "operation": "Apply", "subresource": sub, "fieldsV1": fields}
        for (name, sub), fields in owned.items()
    ]
    return {**applied, "metadata": {**applied["metadata"], "managedFields": kept}}


def _delete(store: Store, request: Request) -> Object:
    if not request.key.name:
        store.delete_all(request.selection)
        return {"kind": "Status", "status": "Success"}
    uid = (request.body.get("preconditions") or {}).get("uid")
    return store.delete(request.key, uid=uid, grace_seconds=request.body.get("gracePeriodSeconds"))
