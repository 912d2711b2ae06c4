"""A tiny API server in memory: enough REST for one plugin, over a real socket, on loopback only.

It stores what it gets and validates nothing; the contract tests use a real API server for that.
"""

from __future__ import annotations

import collections
import http.server
import itertools
import json
import queue
import threading
import urllib.parse
import uuid
from pathlib import Path
from typing import Any, Self

Object = dict[str, Any]


class MemoryApiServer:
    """Objects by REST path; use it as a context manager, or `start` and `stop`."""

    def __init__(self, port: int = 0) -> None:
        self.requests: collections.deque[tuple[str, str]] = collections.deque(maxlen=10_000)
        self.refuse_with: int | None = None
        self._objects: dict[str, Object] = {}
        self._versions = itertools.count(1)
        self._lock = threading.RLock()
        self._watchers: dict[queue.SimpleQueue[Object | None], str] = {}
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            for watcher in self._watchers:
                watcher.put(None)
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def kubeconfig(self, folder: Path) -> Path:
        """Write a kubeconfig for this server and return its path."""
        path = folder / "kubeconfig"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "memory",
            "clusters": [{"name": "memory", "cluster": {"server": self.url}}],
            "contexts": [{"name": "memory", "context": {"cluster": "memory", "user": "memory"}}],
            "users": [{"name": "memory", "user": {}}],
        }
        path.write_text(json.dumps(config))
        return path

    def put(self, path: str, item: Object) -> Object:
        """Store an object at its REST path, as a client with all rights would."""
        with self._lock:
            known = path in self._objects
            metadata = item.setdefault("metadata", {})
            metadata.setdefault("name", path.rpartition("/")[2])
            metadata.setdefault("uid", str(uuid.uuid4()))
            metadata["resourceVersion"] = str(next(self._versions))
            self._objects[path] = item
            self._tell(path, "MODIFIED" if known else "ADDED", item)
            return item

    def remove(self, path: str) -> Object | None:
        """Delete an object."""
        with self._lock:
            item = self._objects.pop(path, None)
            if item is not None:
                item["metadata"]["resourceVersion"] = str(next(self._versions))
                self._tell(path, "DELETED", item)
            return item

    def get(self, path: str) -> Object | None:
        """Return an object."""
        with self._lock:
            return self._objects.get(path)

    def below(self, plural: str) -> list[Object]:
        """Return all objects of a kind, by its plural name or a longer part of the path."""
        with self._lock:
            return [item for path, item in self._objects.items() if _is_of(path, plural)]

    def add_claim(
        self,
        name: str,
        devices: list[str],
        *,
        pool: str,
        config: list[Object] | None = None,
        **result: object,
    ) -> Object:
        """Store a claim in namespace default to which `devices` are allocated, and return it."""
        results = [
            {"request": f"gpu-{number}", "driver": "gpu.nvidia.com", "pool": pool, "device": device, **result}
            for number, device in enumerate(devices)
        ]
        allocation = {"devices": {"results": results, "config": config or []}}
        item = {"metadata": {"namespace": "default", "name": name}, "status": {"allocation": allocation}}
        return self.put(f"/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/{name}", item)

    def remove_claim(self, name: str) -> None:
        """Delete a claim of namespace default."""
        self.remove(f"/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/{name}")

    def watch(self, path: str) -> queue.SimpleQueue[Object | None]:
        """Return a queue of events of a collection; None ends it."""
        events: queue.SimpleQueue[Object | None] = queue.SimpleQueue()
        with self._lock:
            self._watchers[events] = path
        return events

    def unwatch(self, events: queue.SimpleQueue[Object | None]) -> None:
        """Forget a queue."""
        with self._lock:
            self._watchers.pop(events, None)

    def version(self) -> str:
        """Return a resource version that is newer than all before."""
        with self._lock:
            return str(next(self._versions))

    def _tell(self, path: str, kind: str, item: Object) -> None:
        for watcher, collection in self._watchers.items():
            if path.startswith(f"{collection}/"):
                watcher.put({"type": kind, "object": json.loads(json.dumps(item))})


def _is_of(path: str, plural: str) -> bool:
    return f"/{plural.strip('/')}/" in path


def _handler(api: MemoryApiServer) -> type[http.server.BaseHTTPRequestHandler]:  # noqa: C901  one class
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            path, query = self._target()
            if "watch" in query:
                self._stream(path)
                return
            found = api.get(path)
            if found is not None:
                self._answer(200, found)
            elif path.rpartition("/")[2].endswith("s"):
                kind, items = path.rpartition("/")[2], api.below(path.split("/v1/")[-1])
                self._answer(
                    200, {"kind": kind, "metadata": {"resourceVersion": api.version()}, "items": items}
                )
            else:
                self._missing(path)

        def do_POST(self) -> None:
            path, _ = self._target()
            body = self._body()
            metadata = body.setdefault("metadata", {})
            metadata.setdefault("name", f"{metadata.get('generateName', '')}{uuid.uuid4().hex[:5]}")
            self._answer(201, api.put(f"{path}/{metadata['name']}", body))

        def do_PUT(self) -> None:
            path = self._target()[0].removesuffix("/status")
            body, known = self._body(), api.get(path)
            version = body.get("metadata", {}).get("resourceVersion")
            if known is None:
                self._missing(path)
            elif version not in (None, known["metadata"]["resourceVersion"]):
                self._answer(409, {"kind": "Status", "reason": "Conflict", "message": f"{path} changed"})
            else:
                self._answer(200, api.put(path, body))

        def do_DELETE(self) -> None:
            path, _ = self._target()
            self._body()
            found = api.remove(path)
            if found is None:
                self._missing(path)
            else:
                self._answer(200, found)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except (ConnectionError, ValueError):
                self.close_connection = True

        def _target(self) -> tuple[str, dict[str, list[str]]]:
            url = urllib.parse.urlsplit(self.path)
            api.requests.append((self.command, url.path))
            return urllib.parse.unquote(url.path), urllib.parse.parse_qs(url.query)

        def _body(self) -> Object:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            return body if isinstance(body, dict) else {}

        def _missing(self, path: str) -> None:
            status = {"kind": "Status", "reason": "NotFound", "message": f"{path} not found", "code": 404}
            self._answer(404, status)

        def _answer(self, status: int, item: Object) -> None:
            if api.refuse_with is not None:
                status = api.refuse_with
                item = {
                    "kind": "Status",
                    "reason": "Refused",
                    "message": "refused by the test",
                    "code": status,
                }
            data = json.dumps(item).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _stream(self, path: str) -> None:
            events = api.watch(path)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            try:
                self._copy(events)
            finally:
                api.unwatch(events)
                self.close_connection = True

        def _copy(self, events: queue.SimpleQueue[Object | None]) -> None:
            while (event := events.get(timeout=600)) is not None:
                line = json.dumps(event).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.write(b"0\r\n\r\n")

    return Handler
