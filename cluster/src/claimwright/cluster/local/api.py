"""A small door to the API server of a local cluster: enough to know when it is ready, and nothing to import."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from claimwright.cluster import errors
from claimwright.cluster.local.certificates import Pair

_REQUEST_SECONDS = 5.0
_POLL_SECONDS = 0.05


class ApiRefused(errors.ClusterError):
    """The API server answered with an error; `status` is the HTTP code."""

    def __init__(self, status: int, path: str, body: str) -> None:
        super().__init__(f"GET {path} answered {status}: {body[:300]}")
        self.status = status


@dataclass(frozen=True)
class Api:
    """The API server at 127.0.0.1:`port`, spoken to with a client certificate."""

    port: int
    authority: Pair
    identity: Pair

    def get(self, path: str) -> bytes:
        """Return the body at `path`; raises ApiRefused, OSError or http.client.HTTPException."""
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        context.load_cert_chain(self.identity.certificate, self.identity.key)
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=_REQUEST_SECONDS, context=context
        )
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK:
            raise ApiRefused(response.status, path, body.decode(errors="replace"))
        return body

    def get_object(self, path: str) -> dict[str, Any]:
        """Return the JSON object at `path`."""
        content: dict[str, Any] = json.loads(self.get(path))
        return content

    def await_true(
        self, question: Callable[[Api], bool], what: str, *, seconds: float, check: Callable[[], None]
    ) -> None:
        """Ask until the answer is yes; connection errors count as no.

        `check` is called between questions and may raise (a component died). Raises NotReady at the deadline.
        """
        deadline = time.monotonic() + seconds
        last = "no answer yet"
        while time.monotonic() < deadline:
            try:
                if question(self):
                    return
                last = "not yet"
            except (ApiRefused, OSError, http.client.HTTPException) as error:
                last = str(error)
            check()
            time.sleep(_POLL_SECONDS)
        raise errors.NotReady(f"{what} was not ready within {seconds:.0f} s: {last}")


def is_ready(api: Api) -> bool:
    """Say whether the API server serves and its start-up hooks have run."""
    return api.get("/readyz") == b"ok"


def has_default_account(api: Api) -> bool:
    """Say whether pods can be made in the default namespace: the controller manager makes their account."""
    api.get("/api/v1/namespaces/default/serviceaccounts/default")
    api.get("/api/v1/namespaces/default/configmaps/kube-root-ca.crt")
    return True


def nodes_ready(names: set[str]) -> Callable[[Api], bool]:
    """Return the question whether all these nodes are Ready and free of start-up taints."""

    def ask(api: Api) -> bool:
        ready = {
            node["metadata"]["name"] for node in api.get_object("/api/v1/nodes")["items"] if _is_ready(node)
        }
        return names <= ready

    return ask


def _is_ready(node: dict[str, Any]) -> bool:
    conditions = {item["type"]: item["status"] for item in node.get("status", {}).get("conditions", [])}
    taints = {taint["key"] for taint in node["spec"].get("taints", [])}
    return conditions.get("Ready") == "True" and "node.kubernetes.io/not-ready" not in taints
