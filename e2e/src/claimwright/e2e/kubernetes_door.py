"""The official Kubernetes client, narrowed to plain objects: create manifests, read, delete."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from kubernetes import client, config

from claimwright.e2e.objects import JsonObject

BAD_REQUEST, NOT_FOUND, CONFLICT = 400, 404, 409
REQUEST_SECONDS = 30
_CONTENT_TYPES = {"PATCH": "application/merge-patch+json"}


class Missing(Exception):
    """The object is not there."""


class Exists(Exception):
    """An object of that name is there already, or has been changed by somebody else."""


class Refused(Exception):
    """The API server refused a request; the message has its answer."""


class Kubernetes:
    """An administrator's door to one API server; answers are the API's own JSON objects."""

    def __init__(self, kubeconfig: Path) -> None:
        self._api: Any = config.new_client_from_config(str(kubeconfig))  # type: ignore[no-untyped-call]
        self._discovered: dict[str, list[JsonObject]] = {}

    def close(self) -> None:
        """Close idle connections."""
        self._api.close()

    def create(self, manifest: Mapping[str, Any], *, namespace: str = "default") -> None:
        """Create one object of any kind, as written: the client's own models refuse numbers as quantities."""
        self._call("POST", self._collection(manifest, namespace), body=dict(manifest))

    def ensure(self, manifest: Mapping[str, Any]) -> None:
        """Create one object; one that is there already stays as it is."""
        with suppress(Exists):
            self.create(manifest)

    def get(self, path: str, **query: str) -> JsonObject:
        """Read a path of the API, such as /api/v1/nodes; raises Missing."""
        return self._call("GET", path, query=query)

    def delete(self, path: str, *, grace_seconds: int | None = None) -> None:
        """Delete an object or, by a collection's path, all that are in it; raises Missing."""
        options: JsonObject = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        self._call("DELETE", path, body=options)

    def post(self, path: str, body: Mapping[str, Any]) -> JsonObject:
        """Post to a path, such as a subresource."""
        return self._call("POST", path, body=dict(body))

    def patch(self, path: str, change: Mapping[str, Any]) -> JsonObject:
        """Merge a change into an object."""
        return self._call("PATCH", path, body=dict(change))

    def logs(self, namespace: str, pod: str, container: str) -> str:
        """Return what a container has printed, through the API server and the kubelet."""
        core = client.CoreV1Api(self._api)
        return str(core.read_namespaced_pod_log(pod, namespace, container=container))

    def _collection(self, manifest: Mapping[str, Any], namespace: str) -> str:
        """Return where objects of the manifest's kind are created, as the API server's discovery says."""
        version = manifest["apiVersion"]
        base = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if base not in self._discovered:
            self._discovered[base] = self.get(base)["resources"]
        kinds = {each["kind"]: each for each in self._discovered[base] if "/" not in each["name"]}
        if manifest["kind"] not in kinds:
            raise Missing(f"{base} has no kind {manifest['kind']}; it has {', '.join(sorted(kinds))}")
        resource = kinds[manifest["kind"]]
        where = manifest["metadata"].get("namespace", namespace)
        return (
            f"{base}/namespaces/{where}/{resource['name']}"
            if resource["namespaced"]
            else f"{base}/{resource['name']}"
        )

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: JsonObject | None = None,
    ) -> JsonObject:
        request = self._api.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={
                "Accept": "application/json",
                "Content-Type": _CONTENT_TYPES.get(method, "application/json"),
            },
            body=body,
            auth_settings=["BearerToken"],
        )
        answer = self._api.call_api(*request, _request_timeout=REQUEST_SECONDS)
        text = answer.read()
        if answer.status == NOT_FOUND:
            raise Missing(path)
        if answer.status == CONFLICT:
            raise Exists(f"{method} {path}: {text.decode(errors='replace')[:1000]}")
        if answer.status >= BAD_REQUEST:
            raise Refused(f"{method} {path}: {answer.status} {text.decode(errors='replace')[:1000]}")
        content: JsonObject = json.loads(text)
        return content
