"""A test tool that answers like an API server for get, list, watch, create, update, delete.

It is no API server and no product: it stores any object and checks nothing but names, uids and resource
versions. There is no validation, no admission, no scheduler. What matters about Kubernetes is tested on the real
one; this is for fault injection and for unit tests that must run anywhere.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

from claimwright.dra.kube import Kube, Resource
from claimwright.dra.kube.credentials import Credentials

_PATH: Final = re.compile(
    r"/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+)/(?P<version>[^/]+))"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/))?/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[^/]+))?"
)
_Object = dict[str, Any]
_Key = tuple[str, str, str]


@dataclass
class Fault:
    """Answers the next `times` requests that match with `status`; status 0 cuts the connection."""

    method: str
    path: str
    status: int
    times: int = 1
    reason: str = "InternalError"
    retry_after: str | None = None

    def hits(self, method: str, path: str) -> bool:
        """Say whether it is meant, and count it down."""
        if self.times <= 0 or method != self.method or not re.search(self.path, path):
            return False
        self.times -= 1
        return True


class FakeApi:
    """An HTTP server on a free loopback port; use it as a context manager."""

    def __init__(self, *, mutate: Callable[[_Object], _Object] = lambda item: item) -> None:
        self.requests: list[tuple[str, str]] = []
        self.faults: list[Fault] = []
        self._mutate = mutate
        self._objects: dict[_Key, _Object] = {}
        self._version = 100
        self._oldest = 100
        self._log: list[tuple[int, str, str, _Object]] = []
        self._changed = threading.Condition()
        self._open = True
        self._epoch = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def kube(self, *, timeout_seconds: float = 5.0) -> Kube:
        """Give a client of it."""
        return Kube(Credentials(self.url, None, lambda: None), timeout_seconds=timeout_seconds)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._open = False
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def fail(self, method: str, path: str, status: int, *, times: int = 1, **more: Any) -> Fault:  # noqa: ANN401
        """Inject a fault."""
        fault = Fault(method, path, status, times, **more)
        self.faults.append(fault)
        return fault

    def drop_watches(self, *, forget: bool = False) -> None:
        """End all running watches; with `forget`, older resource versions are Gone as well."""
        with self._changed:
            self._epoch += 1
            if forget:
                self._version += 1
                self._oldest = self._version
            self._changed.notify_all()

    def put(self, resource: Resource, item: Mapping[str, Any]) -> _Object:
        """Create or overwrite an object, as somebody else would."""
        metadata = dict(item.get("metadata") or {})
        key = (resource.plural, metadata.get("namespace", ""), metadata["name"])
        with self._changed:
            known = self._objects.get(key)
            fresh = {**item, "apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
            return self._store(key, fresh, "ADDED" if known is None else "MODIFIED", known)

    def remove(self, resource: Resource, name: str, *, namespace: str = "") -> None:
        """Delete an object, as somebody else would."""
        with self._changed:
            self._remove((resource.plural, namespace, name))

    def objects(self, resource: Resource) -> list[_Object]:
        """Give the stored objects of a kind, by name."""
        with self._changed:
            return [item for key, item in sorted(self._objects.items()) if key[0] == resource.plural]

    def writes(self) -> list[tuple[str, str]]:
        """Give the requests so far that were not reads."""
        return [request for request in self.requests if request[0] != "GET"]

    def _store(self, key: _Key, item: _Object, event: str, known: _Object | None) -> _Object:
        self._version += 1
        metadata = item["metadata"]
        metadata["uid"] = known["metadata"]["uid"] if known else metadata.get("uid") or str(uuid.uuid4())
        metadata["resourceVersion"] = str(self._version)
        self._objects[key] = item
        self._tell(event, key, item)
        return item

    def _remove(self, key: _Key) -> _Object:
        item = self._objects.pop(key)
        self._version += 1
        gone = {**item, "metadata": {**item["metadata"], "resourceVersion": str(self._version)}}
        self._tell("DELETED", key, gone)
        return gone

    def _tell(self, event: str, key: _Key, item: _Object) -> None:
        self._log.append((self._version, event, key[0], json.loads(json.dumps(item))))
        self._changed.notify_all()


def _handler(api: FakeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(_Requests):
        fake = api

    return Handler


class _Requests(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeApi

    def log_message(self, format: str, *_args: object) -> None:  # noqa: A002
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer(self._read)

    def do_POST(self) -> None:
        self._answer(self._create)

    def do_PUT(self) -> None:
        self._answer(self._update)

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def _answer(self, verb: Callable[[str, str, str, str, _Object], None]) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.fake.requests.append((self.command, self.path))
        fault = next((item for item in self.fake.faults if item.hits(self.command, self.path)), None)
        if fault is not None and not fault.status:
            self.close_connection = True
            self.connection.close()
            return
        if fault is not None:
            headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            self._fail(fault.status, fault.reason, "injected", headers)
            return
        match = _PATH.fullmatch(url.path)
        if match is None:
            self._fail(404, "NotFound", f"no such path {url.path}")
            return
        parts = (match["plural"], match["namespace"] or "", match["name"] or "", match["sub"] or "")
        verb(*parts, json.loads(body) if body else {})

    def _read(self, plural: str, namespace: str, name: str, _sub: str, _body: _Object) -> None:
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        with self.fake._changed:
            found = self.fake._objects.get((plural, namespace, name)) if name else None
        if name:
            self._found(found, plural, name)
        elif query.get("watch") == "true":
            self._watch(plural, namespace, query)
        else:
            self._list(plural, namespace, query)

    def _found(self, found: _Object | None, plural: str, name: str) -> None:
        if found is None:
            self._fail(404, "NotFound", f'{plural} "{name}" not found')
        else:
            self._send(200, found)

    def _list(self, plural: str, namespace: str, query: Mapping[str, str]) -> None:
        with self.fake._changed:
            items = [
                item
                for key, item in sorted(self.fake._objects.items())
                if key[0] == plural
                and namespace in ("", key[1])
                and _selected(item, query.get("fieldSelector"))
            ]
            version = str(self.fake._version)
        self._send(200, {"kind": "List", "metadata": {"resourceVersion": version}, "items": items})

    def _watch(self, plural: str, namespace: str, query: Mapping[str, str]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        fake, seen = self.fake, int(query["resourceVersion"])
        with fake._changed:
            epoch, too_old = fake._epoch, seen < fake._oldest
        if too_old:
            self._event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})
        while not too_old:
            with fake._changed:
                fake._changed.wait_for(
                    lambda: fake._version > seen or fake._epoch != epoch or not fake._open,  # noqa: B023
                    0.2,
                )
                news = [entry for entry in fake._log if entry[0] > seen]
                seen, done = fake._version, fake._epoch != epoch or not fake._open
            for _, event, kind, item in news:
                here = kind == plural and namespace in ("", item["metadata"].get("namespace", ""))
                if here and _selected(item, query.get("fieldSelector")):
                    self._event(event, item)
            if done:
                break
        self._chunk(b"")

    def _event(self, event: str, item: _Object) -> None:
        self._chunk(json.dumps({"type": event, "object": item}).encode() + b"\n")

    def _chunk(self, data: bytes) -> None:
        try:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()
        except OSError:
            self.close_connection = True

    def _create(self, plural: str, namespace: str, _name: str, _sub: str, body: _Object) -> None:
        metadata = dict(body.get("metadata") or {})
        if not metadata.get("name"):
            metadata["name"] = metadata["generateName"] + secrets.token_hex(3)[:5]
        if namespace:
            metadata["namespace"] = namespace
        key = (plural, namespace, metadata["name"])
        with self.fake._changed:
            exists = key in self.fake._objects
            item = self.fake._mutate({**body, "metadata": metadata})
            stored = None if exists else self.fake._store(key, item, "ADDED", None)
        if stored is None:
            self._fail(409, "AlreadyExists", f'{plural} "{key[2]}" already exists')
        else:
            self._send(201, stored)

    def _update(self, plural: str, namespace: str, name: str, _sub: str, body: _Object) -> None:
        key = (plural, namespace, name)
        with self.fake._changed:
            known = self.fake._objects.get(key)
            asked = (body.get("metadata") or {}).get("resourceVersion")
            stale = known is not None and asked is not None and asked != known["metadata"]["resourceVersion"]
            stored = None
            if known is not None and not stale:
                item = self.fake._mutate({**body, "metadata": {**known["metadata"], **body["metadata"]}})
                stored = self.fake._store(key, item, "MODIFIED", known)
        if stale:
            self._fail(409, "Conflict", f'{plural} "{name}" was modified')
        else:
            self._found(stored, plural, name)

    def _delete(self, plural: str, namespace: str, name: str, _sub: str, body: _Object) -> None:
        if not name:
            self._delete_all(plural, namespace)
            return
        key, uid = (plural, namespace, name), (body.get("preconditions") or {}).get("uid")
        with self.fake._changed:
            known = self.fake._objects.get(key)
            other = known is not None and uid is not None and uid != known["metadata"]["uid"]
            gone = None if known is None or other else self.fake._remove(key)
        if other:
            self._fail(409, "Conflict", f'{plural} "{name}" has another uid')
        else:
            self._found(gone, plural, name)

    def _delete_all(self, plural: str, namespace: str) -> None:
        selector = parse_qs(urlsplit(self.path).query).get("fieldSelector", [None])[0]
        with self.fake._changed:
            for key in [
                key
                for key, item in self.fake._objects.items()
                if key[0] == plural and namespace in ("", key[1]) and _selected(item, selector)
            ]:
                self.fake._remove(key)
        self._send(200, {"kind": "Status", "status": "Success"})

    def _fail(self, code: int, reason: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        status = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}
        self._send(code, status, headers)

    def _send(self, code: int, item: _Object, headers: Mapping[str, str] | None = None) -> None:
        data = json.dumps(item).encode()
        try:
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            self.close_connection = True


def _selected(item: _Object, selector: str | None) -> bool:
    for term in (selector or "").split(","):
        path, _, wanted = term.partition("=")
        found: Any = item
        for part in path.split(".") if path else ():
            found = (found or {}).get(part) if isinstance(found, dict) else None
        if path and (found or "") != wanted:
            return False
    return True


def allocated_claim(
    name: str,
    driver: str,
    devices: Sequence[tuple[str, str, str]],
    *,
    namespace: str = "default",
    uid: str | None = None,
    configs: Sequence[Mapping[str, Any]] = (),
    pod_claim_name: str | None = None,
) -> _Object:
    """Give a ResourceClaim object to which (request, pool, device) are allocated."""
    annotations = {"resource.kubernetes.io/pod-claim-name": pod_claim_name} if pod_claim_name else {}
    results = [
        {"request": request, "driver": driver, "pool": pool, "device": device}
        for request, pool, device in devices
    ]
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid or str(uuid.uuid4()),
            "annotations": annotations,
        },
        "spec": {"devices": {"requests": [{"name": request} for request, _, _ in devices]}},
        "status": {"allocation": {"devices": {"results": results, "config": list(configs)}}},
    }
