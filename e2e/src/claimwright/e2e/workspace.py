"""A namespace of its own for one scenario, and the few things that scenarios do in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, utils
from kubernetes.client.exceptions import ApiException

from claimwright.e2e.deadlines import wait_until

RUNNING_SECONDS = 60.0
GONE_SECONDS = 60.0


class Workspace:
    """One namespace on a cluster; `close` removes it and waits until its claims have released their devices."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self.namespace = namespace
        self._api = api
        self._core = client.CoreV1Api(api)
        self._resources = client.ResourceV1Api(api)
        self._core.create_namespace({"metadata": {"name": namespace}})
        wait_until("the default service account", self._service_account, seconds=20)

    def _service_account(self) -> bool:
        try:
            self._core.read_namespaced_service_account("default", self.namespace)
        except ApiException:
            return False
        return True

    def apply(self, manifests: Path | str | Iterable[Mapping[str, Any]]) -> None:
        """Create every object of a YAML file, a YAML text or an iterable of objects, in this namespace."""
        if isinstance(manifests, Path):
            manifests = manifests.read_text()
        objects = yaml.safe_load_all(manifests) if isinstance(manifests, str) else manifests
        for manifest in filter(None, objects):
            utils.create_from_dict(self._api, dict(manifest), namespace=self.namespace)

    def pod(self, name: str) -> client.V1Pod:
        """Read a pod; ApiException 404 when it is not there."""
        return self._core.read_namespaced_pod(name, self.namespace)

    def claim(self, name: str) -> client.ResourceV1ResourceClaim:
        """Read a resource claim."""
        return self._resources.read_namespaced_resource_claim(name, self.namespace)

    def claims(self) -> list[client.ResourceV1ResourceClaim]:
        """All claims of the namespace."""
        return list(self._resources.list_namespaced_resource_claim(self.namespace).items)

    def claims_of(self, pod: client.V1Pod) -> dict[str, client.ResourceV1ResourceClaim]:
        """The claims of a pod by the name that its spec gives them."""
        generated = {status.name: status.resource_claim_name for status in pod.status.resource_claim_statuses or ()}
        return {
            entry.name: self.claim(entry.resource_claim_name or generated[entry.name])
            for entry in pod.spec.resource_claims or ()
        }

    def running(self, name: str, *, seconds: float = RUNNING_SECONDS) -> client.V1Pod:
        """Wait until the pod runs with every container ready, and return it."""

        def look() -> client.V1Pod | None:
            pod = self.pod(name)
            ready = all(status.ready for status in pod.status.container_statuses or ())
            return pod if pod.status.phase == "Running" and ready else None

        return wait_until(f"pod {name} Running", look, seconds=seconds, seen=lambda: self.story(name))

    def unschedulable(self, name: str, *, seconds: float = RUNNING_SECONDS) -> str:
        """Wait until the scheduler has looked at the pod and found no place; return its message."""

        def look() -> str | None:
            for condition in self.pod(name).status.conditions or ():
                if condition.type == "PodScheduled" and condition.reason == "Unschedulable":
                    return str(condition.message)
            return None

        return wait_until(f"pod {name} Unschedulable", look, seconds=seconds, seen=lambda: self.story(name))

    def delete_pod(self, name: str, *, grace_seconds: int | None = None) -> None:
        """Delete a pod and wait until it is gone."""
        self._core.delete_namespaced_pod(name, self.namespace, grace_period_seconds=grace_seconds)
        wait_until(f"pod {name} gone", lambda: self._gone(name), seconds=GONE_SECONDS, seen=lambda: self.story(name))

    def _gone(self, name: str) -> bool:
        try:
            self.pod(name)
        except ApiException as error:
            return error.status == 404
        return False

    def story(self, pod: str) -> str:
        """Return phase, conditions and events of a pod: what one reads when it does not run."""
        status = self.pod(pod).status
        events = self._core.list_namespaced_event(
            self.namespace, field_selector=f"involvedObject.name={pod}"
        ).items
        told = [f"{event.reason}: {event.message}" for event in events]
        conditions = [f"{c.type}={c.status} {c.reason or ''}" for c in status.conditions or ()]
        return f"phase {status.phase}; conditions {conditions}; events {told}"

    def logs(self, pod: str, container: str) -> str:
        """Return what a container has printed."""
        return str(self._core.read_namespaced_pod_log(pod, self.namespace, container=container))

    def close(self) -> None:
        """Delete pods and claims, wait for them, then delete the namespace without waiting for its end."""
        self._core.delete_collection_namespaced_pod(self.namespace, grace_period_seconds=1)
        wait_until(
            f"all pods of {self.namespace} gone",
            lambda: not self._core.list_namespaced_pod(self.namespace).items,
            seconds=GONE_SECONDS,
        )
        self._resources.delete_collection_namespaced_resource_claim(self.namespace)
        wait_until(f"all claims of {self.namespace} gone", lambda: not self.claims(), seconds=GONE_SECONDS)
        self._core.delete_namespace(self.namespace)
