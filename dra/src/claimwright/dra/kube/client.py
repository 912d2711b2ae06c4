"""The client: one method per verb of the Kubernetes API, plain dicts in and out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Self

from claimwright.dra.kube import credentials as sources
from claimwright.dra.kube.credentials import Credentials
from claimwright.dra.kube.errors import KubeError
from claimwright.dra.kube.live import LiveReader
from claimwright.dra.kube.resources import Resource
from claimwright.dra.kube.transport import Transport
from claimwright.dra.kube.watch import Watch

PatchKind = Literal["merge", "json", "apply", "strategic"]
_PATCH_CONTENT: Final[Mapping[PatchKind, str]] = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",  # JSON is YAML
}


class Kube:
    """A client of one API server. Synchronous, thread-safe; nothing is retried, each wait has a deadline."""

    def __init__(
        self, credentials: Credentials, *, user_agent: str = "claimwright", timeout_seconds: float = 10.0
    ) -> None:
        self._transport = Transport(credentials, user_agent=user_agent, timeout_seconds=timeout_seconds)
        self._user_agent = user_agent

    @classmethod
    def from_kubeconfig(
        cls,
        path: Path,
        *,
        context: str | None = None,
        user_agent: str = "claimwright",
        timeout_seconds: float = 10.0,
    ) -> Self:
        """Connect as a kubeconfig says; raises MalformedKubeconfig."""
        found = sources.from_kubeconfig(path, context=context)
        return cls(found, user_agent=user_agent, timeout_seconds=timeout_seconds)

    @classmethod
    def in_cluster(cls, *, user_agent: str = "claimwright", timeout_seconds: float = 10.0) -> Self:
        """Connect with the pod's service account; raises MalformedKubeconfig outside a pod."""
        return cls(sources.in_cluster(), user_agent=user_agent, timeout_seconds=timeout_seconds)

    @classmethod
    def connect(
        cls, kubeconfig: Path | None, *, user_agent: str = "claimwright", timeout_seconds: float = 10.0
    ) -> Self:
        """Connect by `kubeconfig`, or in the cluster where it is None."""
        if kubeconfig is None:
            return cls.in_cluster(user_agent=user_agent, timeout_seconds=timeout_seconds)
        return cls.from_kubeconfig(kubeconfig, user_agent=user_agent, timeout_seconds=timeout_seconds)

    @property
    def server(self) -> str:
        """The API server's address."""
        return self._transport.credentials.server

    @property
    def namespace(self) -> str:
        """The namespace of the context or of the pod."""
        return self._transport.credentials.namespace

    def get(self, resource: Resource, name: str, *, namespace: str | None = None) -> dict[str, Any]:
        """Read one object; raises NotFound."""
        return self._json("GET", resource.path(_scope(resource, namespace), _given(name)))

    def list(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> dict[str, Any]:
        """Read all objects, of one namespace or of all, as one List object."""
        query = {"labelSelector": label_selector, "fieldSelector": field_selector, "limit": "500"}
        path = resource.path(namespace)
        page = self._json("GET", path, query)
        items = list(page.get("items") or ())
        while token := (page.get("metadata") or {}).get("continue"):
            page = self._json("GET", path, {**query, "continue": token})
            items += page.get("items") or ()
        for item in items:  # the API leaves both out of list items
            item.setdefault("apiVersion", resource.api_version)
            item.setdefault("kind", resource.kind)
        return {**page, "items": items}

    def create(
        self,
        resource: Resource,
        body: Mapping[str, Any],
        *,
        namespace: str | None = None,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Create an object; raises AlreadyExists, Invalid."""
        target = namespace or (body.get("metadata") or {}).get("namespace")
        path = resource.path(_scope(resource, target))
        return self._json("POST", path, _dry(dry_run=dry_run), body={**_kind(resource), **body})

    def replace(
        self, resource: Resource, body: Mapping[str, Any], *, dry_run: bool = False
    ) -> dict[str, Any]:
        """Update an object; with its resourceVersion a concurrent change raises Conflict."""
        return self._put(resource, body, None, dry_run=dry_run)

    def replace_status(self, resource: Resource, body: Mapping[str, Any]) -> dict[str, Any]:
        """Update an object's status."""
        return self._put(resource, body, "status", dry_run=False)

    def patch(
        self,
        resource: Resource,
        name: str,
        body: Mapping[str, Any] | Sequence[Any],
        *,
        namespace: str | None = None,
        subresource: str | None = None,
        kind: PatchKind = "merge",
        field_manager: str | None = None,
        force: bool = False,
    ) -> dict[str, Any]:
        """Patch an object; `apply` needs `field_manager`, and takes over foreign fields with `force`."""
        path = resource.path(_scope(resource, namespace), _given(name), subresource)
        query = {"fieldManager": field_manager, "force": "true" if force and kind == "apply" else None}
        return self._json("PATCH", path, query, body=body, content=_PATCH_CONTENT[kind])

    def delete(
        self,
        resource: Resource,
        name: str,
        *,
        namespace: str | None = None,
        uid: str | None = None,
        grace_seconds: int | None = None,
    ) -> dict[str, Any]:
        """Delete an object; raises NotFound, and Conflict where another `uid` has the name now."""
        options: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
        }
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        return self._json("DELETE", resource.path(_scope(resource, namespace), _given(name)), body=options)

    def delete_collection(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> None:
        """Delete all objects that the selectors name; at least one selector is required."""
        if not label_selector and not field_selector:
            raise KubeError(0, "NoSelector", f"delete_collection of {resource.plural} needs a selector")
        query = {"labelSelector": label_selector, "fieldSelector": field_selector}
        self._json("DELETE", resource.path(_scope(resource, namespace)), query)

    def watch(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        resource_version: str,
        field_selector: str | None = None,
        label_selector: str | None = None,
        timeout_seconds: float = 300,
    ) -> Watch:
        """Follow changes after `resource_version`, with bookmarks, until the server ends it; see Watch."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "fieldSelector": field_selector,
            "labelSelector": label_selector,
            "timeoutSeconds": str(max(1, int(timeout_seconds))),
        }
        # The server ends a watch by itself; the margin only covers a connection that died silently.
        read_seconds = timeout_seconds + self._transport.timeout_seconds
        path = resource.path(namespace)
        return Watch(
            self._transport.open("GET", path, query=query, read_seconds=read_seconds), what=f"watch {path}"
        )

    def live_reader(self, *, connections: int) -> LiveReader:
        """Give a reader for the running event loop, with connections of its own; the caller closes it."""
        return LiveReader(
            self._transport.credentials,
            user_agent=self._user_agent,
            timeout_seconds=self._transport.timeout_seconds,
            connections=connections,
        )

    def server_version(self) -> tuple[int, int]:
        """Give the server's major and minor version."""
        version = self._json("GET", "/version")
        return int(version["major"]), int(str(version["minor"]).rstrip("+"))

    def raw(self, path: str) -> bytes:
        """Read any path, such as /readyz."""
        return self._transport.send("GET", path)

    def close(self) -> None:
        """Close the idle connections; the client stays usable."""
        self._transport.close()

    def _put(
        self, resource: Resource, body: Mapping[str, Any], subresource: str | None, *, dry_run: bool
    ) -> dict[str, Any]:
        metadata = body.get("metadata") or {}
        path = resource.path(
            _scope(resource, metadata.get("namespace")), _given(metadata.get("name")), subresource
        )
        return self._json("PUT", path, _dry(dry_run=dry_run), body={**_kind(resource), **body})

    def _json(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | None] | None = None,
        *,
        body: object = None,
        content: str = "",
    ) -> dict[str, Any]:
        answer = self._transport.send(method, path, query=query, body=body, content=content)
        try:
            found = json.loads(answer)
        except ValueError as error:
            raise KubeError(
                200, "NotJSON", f"{method} {path}: the answer is no JSON: {answer[:100]!r}"
            ) from error
        if not isinstance(found, dict):
            raise KubeError(200, "NotAnObject", f"{method} {path}: the answer is no object: {answer[:100]!r}")
        return found


def _kind(resource: Resource) -> dict[str, str]:
    return {"apiVersion": resource.api_version, "kind": resource.kind}


def _dry(*, dry_run: bool) -> dict[str, str | None]:
    return {"dryRun": "All" if dry_run else None}


def _scope(resource: Resource, namespace: str | None) -> str | None:
    if resource.namespaced and not namespace:
        raise KubeError(0, "NoNamespace", f"{resource.plural} are namespaced: give a namespace")
    return namespace


def _given(name: str | None) -> str:
    # An empty name would turn the path into the collection's, and a delete into a delete of everything.
    if not name:
        raise KubeError(0, "NoName", f"the object's name is {name!r}, expected a name")
    return name
