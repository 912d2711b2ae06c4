"""A namespace of its own for one scenario, and the few things that scenarios do in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from claimwright.e2e.deadlines import wait_until
from claimwright.e2e.kubernetes_door import Kubernetes, Missing
from claimwright.e2e.objects import Claim, Pod

RUNNING_SECONDS = 60.0
GONE_SECONDS = 60.0


class Workspace:
    """One namespace on a cluster; `close` removes it and waits until its claims have released their devices."""

    def __init__(
        self, kubernetes: Kubernetes, namespace: str, *, labels: Mapping[str, str] | None = None
    ) -> None:
        self.namespace = namespace
        self._kubernetes = kubernetes
        self._core = f"/api/v1/namespaces/{namespace}"
        self._claims = f"/apis/resource.k8s.io/v1/namespaces/{namespace}/resourceclaims"
        metadata = {"name": namespace, "labels": dict(labels or {})}
        kubernetes.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        wait_until("the default service account", self._service_account, seconds=20)

    def apply(self, manifests: Path | str | Iterable[Mapping[str, Any]]) -> None:
        """Create every object of a YAML file, a YAML text or an iterable of objects, in this namespace."""
        if isinstance(manifests, Path):
            manifests = manifests.read_text()
        objects = yaml.safe_load_all(manifests) if isinstance(manifests, str) else manifests
        for manifest in filter(None, objects):
            self._kubernetes.create(manifest, namespace=self.namespace)

    def pod(self, name: str) -> Pod:
        """Read a pod; raises Missing."""
        return Pod.from_object(self._kubernetes.get(f"{self._core}/pods/{name}"))

    def pods(self) -> dict[str, tuple[str, list[int]]]:
        """All pods of the namespace by name: uid, and how often each container was started again."""
        return {
            pod["metadata"]["name"]: (
                pod["metadata"]["uid"],
                [each["restartCount"] for each in pod["status"].get("containerStatuses", ())],
            )
            for pod in self._kubernetes.get(f"{self._core}/pods")["items"]
        }

    def claim(self, name: str) -> Claim:
        """Read a resource claim; raises Missing."""
        return Claim.from_object(self._kubernetes.get(f"{self._claims}/{name}"))

    def claims(self) -> list[Claim]:
        """All claims of the namespace."""
        return [Claim.from_object(claim) for claim in self._kubernetes.get(self._claims)["items"]]

    def claim_of(self, pod: Pod, name: str) -> Claim:
        """The claim that a pod's spec calls `name`."""
        return self.claim(pod.claims[name])

    def allocate(self, claim: str, results: Iterable[Mapping[str, Any]], *, reserved_for: Pod) -> None:
        """Write an allocation of devices into a claim, and for which pod it is, as a scheduler does."""
        pod = {"resource": "pods", "name": reserved_for.name, "uid": reserved_for.uid}
        status = {"allocation": {"devices": {"results": list(results)}}, "reservedFor": [pod]}
        self._kubernetes.patch(f"{self._claims}/{claim}/status", {"status": status})

    def bind(self, pod: Pod, node: str) -> None:
        """Send a pod to a node, as a scheduler does."""
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod.name}, "target": target}
        self._kubernetes.post(f"{self._core}/pods/{pod.name}/binding", binding)

    def running(self, name: str, *, seconds: float = RUNNING_SECONDS) -> Pod:
        """Wait until the pod runs with every container ready, and return it."""

        def look() -> Pod | None:
            pod = self.pod(name)
            return pod if pod.phase == "Running" and pod.ready else None

        return wait_until(f"pod {name} Running", look, seconds=seconds, seen=lambda: self.story(name))

    def unschedulable(self, name: str, *, seconds: float = RUNNING_SECONDS) -> str:
        """Wait until the scheduler has looked at the pod and found no place; return its message."""
        return wait_until(
            f"pod {name} Unschedulable",
            lambda: self.pod(name).unschedulable,
            seconds=seconds,
            seen=lambda: self.story(name),
        )

    def delete_pod(self, name: str, *, grace_seconds: int | None = None) -> None:
        """Delete a pod and wait until it is gone."""
        self._kubernetes.delete(f"{self._core}/pods/{name}", grace_seconds=grace_seconds)
        wait_until(
            f"pod {name} gone", lambda: self._gone(name), seconds=GONE_SECONDS, seen=lambda: self.story(name)
        )

    def story(self, pod: str) -> str:
        """Return phase, conditions and events of a pod: what one reads when it does not run."""
        found = self.pod(pod)
        events = self._kubernetes.get(f"{self._core}/events", fieldSelector=f"involvedObject.name={pod}")[
            "items"
        ]
        told = [f"{event.get('reason')}: {event.get('message')}" for event in events]
        return f"phase {found.phase}; conditions {list(found.conditions)}; events {told}"

    def wait_for_logs(self, pod: str, container: str, *, seconds: float = 20.0) -> str:
        """Wait until a container has printed a whole line, and return what it printed."""

        def look() -> str | None:
            text = self._kubernetes.logs(self.namespace, pod, container)
            return text if text.endswith("\n") else None

        return wait_until(f"a line from {pod}/{container}", look, seconds=seconds)

    def close(self) -> None:
        """Delete pods and claims, wait for them, then delete the namespace without waiting for its end."""
        pods = f"{self._core}/pods"
        self._kubernetes.delete(pods, grace_seconds=1)
        wait_until(
            f"all pods of {self.namespace} gone",
            lambda: not self._kubernetes.get(pods)["items"],
            seconds=GONE_SECONDS,
            seen=lambda: [self.story(pod["metadata"]["name"]) for pod in self._kubernetes.get(pods)["items"]],
        )
        self._kubernetes.delete(self._claims)
        wait_until(f"all claims of {self.namespace} gone", lambda: not self.claims(), seconds=GONE_SECONDS)
        self._kubernetes.delete(f"/api/v1/namespaces/{self.namespace}")

    def _service_account(self) -> bool:
        try:
            self._kubernetes.get(f"{self._core}/serviceaccounts/default")
        except Missing:
            return False
        return True

    def _gone(self, name: str) -> bool:
        try:
            self.pod(name)
        except Missing:
            return True
        return False
