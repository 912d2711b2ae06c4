"""An API server in memory, over real HTTP, for tests that need no cluster.

It is a test double and no product: scenarios run on a real Kubernetes. Faults can be ordered by method and
path.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import parse_qs, urlsplit

from claimwright.emulator.kubelet.testing.store import Event, Key, Object, Refused, Store, merge

_PATH = re.compile(
    r"^/(?:api/v1|apis/(?P<group>[^/]+)/[^/]+)"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/[^/]+))?"
    r"/(?P<collection>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[^/]+))?$"
)


class FakeApiServer:
    """A context manager that serves on a free loopback port; `store` is open to the test."""

    def __init__(self) -> None:
        self.store = Store()
        self.requests: list[tuple[str, str]] = []
        self._faults: list[tuple[re.Pattern[str], int]] = []
        self.stopping = False

    def __enter__(self) -> Self:
        server = self

        class Handler(_Handler):
            api = server  # type: ignore[assignment]  # the class of one server

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping = True
        with self.store.changed:
            self.store.changed.notify_all()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig for it and return its path."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "fake", "user": {"token": "fake"}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
            "current-context": "fake",
        }
        path.write_text(json.dumps(config))
        return path

    def fail(self, pattern: str, *, times: int = 1) -> None:
        """Answer the next `times` requests that match `METHOD path` with status 503."""
        self._faults.append((re.compile(pattern), times))

    def fault(self, line: str) -> bool:
        """Use up one ordered fault for this request, if there is one."""
        for index, (pattern, left) in enumerate(self._faults):
            if left and pattern.search(line):
                self._faults[index] = (pattern, left - 1)
                return True
        return False


class _Handler(BaseHTTPRequestHandler):
    api: ClassVar[FakeApiServer]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve(self._get)

    def do_POST(self) -> None:
        self._serve(self._post)

    def do_PUT(self) -> None:
        self._serve(self._put)

    def do_PATCH(self) -> None:
        self._serve(self._patch)

    def do_DELETE(self) -> None:
        self._serve(self._delete)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401
        """Say nothing."""

    def _serve(self, action: Any) -> None:  # noqa: ANN401
        url = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(url.query).items()}
        self.body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        self.api.requests.append((self.command, url.path))
        try:
            self._route(url.path, action)
        except Refused as refused:
            status = {"kind": "Status", "code": refused.status, "reason": refused.reason}
            self._answer(refused.status, {**status, "message": str(refused)})

    def _route(self, path: str, action: Any) -> None:  # noqa: ANN401
        if self.api.fault(f"{self.command} {path}"):
            raise Refused(503, "ServiceUnavailable", "ordered by the test")
        if path == "/version":
            self._answer(200, {"major": "1", "minor": "37"})
            return
        match = _PATH.match(path)
        if not match:
            raise Refused(404, "NotFound", f"no such path {path}")
        self.collection = _collection(match["group"], match["collection"])
        self.namespace, self.name, self.sub = match["namespace"] or "", match["name"] or "", match["sub"]
        action()

    @property
    def _key(self) -> Key:
        return self.collection, self.namespace, self.name

    @property
    def _selector(self) -> str:
        return self.query.get("fieldSelector", "")

    def _get(self) -> None:
        if self.name:
            self._answer(200, self.api.store.get(self._key))
        elif self.query.get("watch") in ("true", "1"):
            self._watch()
        else:
            version = self.api.store.version
            items = self.api.store.choose(self.collection, self.namespace, self._selector)
            self._answer(200, {"kind": "List", "metadata": {"resourceVersion": version}, "items": items})

    def _post(self) -> None:
        self._answer(201, self.api.store.create(self.collection, self.namespace, self.body))

    def _put(self) -> None:
        def change(old: Object) -> Object:
            version = self.body["metadata"].get("resourceVersion")
            if version and version != old["metadata"]["resourceVersion"]:
                raise Refused(409, "Conflict", "the object has been modified")
            if self.sub:
                return {**old, self.sub: self.body.get(self.sub)}
            metadata = {**old["metadata"], **self.body["metadata"]}
            return {**old, **self.body, "metadata": metadata}

        self._answer(200, self.api.store.change(self._key, change))

    def _patch(self) -> None:
        patch = dict(self.body)
        uid = patch.get("metadata", {}).get("uid")
        if self.sub:
            patch = {self.sub: patch.get(self.sub)}
        self._answer(200, self.api.store.change(self._key, lambda old: merge(old, patch), uid=uid))

    def _delete(self) -> None:
        if not self.name:
            self.api.store.delete_all(self.collection, self.namespace, self._selector)
            self._answer(200, {"kind": "Status"})
            return
        uid = (self.body.get("preconditions") or {}).get("uid")
        self._answer(
            200, self.api.store.delete(self._key, uid=uid, grace=self.body.get("gracePeriodSeconds"))
        )

    def _watch(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True
        with suppress(OSError):
            for event in self._events():
                line = json.dumps({"type": event[1], "object": event[3]}).encode() + b"\n"
                self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
                self.wfile.flush()

    def _events(self) -> Iterator[Event]:
        version = int(self.query.get("resourceVersion") or 0)
        while not self.api.stopping:
            with self.api.store.changed:
                found = self._after(version)
                if not found:
                    self.api.store.changed.wait(0.2)
                    continue
            for event in found:
                version = event[0]
                yield event

    def _after(self, version: int) -> list[Event]:
        return self.api.store.events_after(version, self.collection, self.namespace, self._selector)

    def _answer(self, status: int, body: Object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _collection(group: str | None, plural: str) -> str:
    # The core group's events and pods keep their bare names; nothing else is asked for by two groups here.
    return f"{plural}.{group}" if group and plural == "events" else plural
