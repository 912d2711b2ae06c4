"""The Kubernetes door of one check: each request names the requirement and is kept as evidence."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from claimwright.conformance.transcript import Transcript
from claimwright.dra.kube import Kube, KubeError, Resource


class RecordingKube(Kube):
    """A Kube that enters what it writes into a transcript; reads are polled and would drown it."""

    transcript: Transcript

    def recording_into(self, transcript: Transcript) -> Self:
        """Set where the requests are kept."""
        self.transcript = transcript
        return self

    def create(
        self,
        resource: Resource,
        body: Mapping[str, Any],
        *,
        namespace: str | None = None,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Create an object; see Kube."""
        with self._recorded("create", resource, body):
            return super().create(resource, body, namespace=namespace, dry_run=dry_run)

    def replace(
        self, resource: Resource, body: Mapping[str, Any], *, dry_run: bool = False
    ) -> dict[str, Any]:
        """Update an object; see Kube."""
        with self._recorded("update", resource, body):
            return super().replace(resource, body, dry_run=dry_run)

    def replace_status(self, resource: Resource, body: Mapping[str, Any]) -> dict[str, Any]:
        """Update an object's status; see Kube."""
        with self._recorded("update status", resource, body):
            return super().replace_status(resource, body)

    def delete(
        self,
        resource: Resource,
        name: str,
        *,
        namespace: str | None = None,
        uid: str | None = None,
        grace_seconds: int | None = None,
    ) -> dict[str, Any]:
        """Delete an object; see Kube."""
        with self._recorded("delete", resource, {"metadata": {"name": name, "namespace": namespace}}):
            return super().delete(resource, name, namespace=namespace, uid=uid, grace_seconds=grace_seconds)

    def delete_collection(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> None:
        """Delete what the selectors name; see Kube."""
        with self._recorded("delete collection", resource, {"fieldSelector": field_selector}):
            super().delete_collection(
                resource, namespace=namespace, label_selector=label_selector, field_selector=field_selector
            )

    @contextmanager
    def _recorded(self, verb: str, resource: Resource, body: Mapping[str, Any]) -> Iterator[None]:
        started, what = time.monotonic(), {"verb": verb, "resource": resource.plural, "body": dict(body)}
        try:
            yield
        except KubeError as error:
            self.transcript.add("http", started, **what, error=str(error))
            raise
        self.transcript.add("http", started, **what)
