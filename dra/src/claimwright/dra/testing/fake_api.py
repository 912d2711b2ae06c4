"""A test tool that answers like an API server for get, list, watch, create, update, patch and delete.

It is no API server and no product: it stores any object and checks nothing but names, uids and resource
versions. There is no validation, no admission, no scheduler. What matters about Kubernetes is tested on the real
one; this is for fault injection, for unit tests that must run anywhere, and for measurements of clients.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Mapping
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from claimwright.dra.kube import Kube, Resource
from claimwright.dra.kube.credentials import Credentials
from claimwright.dra.testing.faults import Fault
from claimwright.dra.testing.handler import Service, handler_of
from claimwright.dra.testing.objects import Object, key_of
from claimwright.dra.testing.store import Selection, Store
from claimwright.dra.testing.verbs import Mutate


class FakeApi:
    """An HTTP server on a free loopback port; use it as a context manager.

    `requests` are the method and target of each request so far; `mutate` alters what clients write.
    """

    def __init__(self, *, mutate: Mutate = lambda item: item) -> None:
        self.requests: list[tuple[str, str]] = []
        self.faults: list[Fault] = []
        self._store = Store()
        service = Service(self._store, mutate, self.faults, self.requests)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(service))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def kube(self, *, timeout_seconds: float = 5.0) -> Kube:
        """Give a client of it."""
        return Kube(Credentials(self.url, None, lambda: None), timeout_seconds=timeout_seconds)

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig for it at `path`, and return that."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
            "users": [{"name": "fake", "user": {}}],
        }
        path.write_text(json.dumps(config))
        return path

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def fail(
        self,
        method: str,
        path: str,
        status: int,
        *,
        times: int | None = 1,
        reason: str = "InternalError",
        retry_after: str | None = None,
    ) -> Fault:
        """Order a fault; see Fault."""
        fault = Fault(method, path, status, times, reason, retry_after)
        self.faults.append(fault)
        return fault

    @property
    def watches(self) -> int:
        """How many watches run; a request for one is counted before it does."""
        return self._store.watches

    def drop_watches(self, *, forget: bool = False) -> None:
        """End all running watches; with `forget`, older resource versions are Gone as well."""
        self._store.drop_watches(forget=forget)

    def put(self, resource: Resource, item: Mapping[str, Any]) -> Object:
        """Create or overwrite an object, as somebody else would."""
        metadata = item["metadata"]
        key = key_of(resource, metadata["name"], metadata.get("namespace", ""))
        whole = {**copy.deepcopy(dict(item)), "apiVersion": resource.api_version, "kind": resource.kind}
        return copy.deepcopy(self._store.put(key, whole))

    def remove(
        self, resource: Resource, name: str, *, namespace: str = "", grace_seconds: int | None = 0
    ) -> None:
        """Delete an object, as somebody else would; grace None is the pod's own; raises Refused."""
        self._store.delete(key_of(resource, name, namespace), grace_seconds=grace_seconds)

    def objects(self, resource: Resource) -> list[Object]:
        """Give the stored objects of a kind, by namespace and name."""
        items, _ = self._store.choose(Selection(key_of(resource, "").collection))
        return copy.deepcopy(items)

    def versions(self, resource: Resource) -> dict[str, str]:
        """Give the resource versions of the stored objects of a kind by name: cheap, to see whether one changed."""
        items, _ = self._store.choose(Selection(key_of(resource, "").collection))
        return {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in items}

    def writes(self) -> list[tuple[str, str]]:
        """Give the requests so far that were not reads."""
        return [request for request in self.requests if request[0] != "GET"]
