"""The daemon's own pod: its label tells the controller the clique, its readiness tells peers about this node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from claimwright.dra.kube import PODS, Kube, Reflector
from claimwright.driver.computedomain.daemon.settings import DaemonSettings
from claimwright.driver.computedomain.resources import CLIQUE


class OwnPod:
    """Follows the pod; `changed` is called from another thread."""

    def __init__(self, kube: Kube, settings: DaemonSettings, changed: Callable[[], None]) -> None:
        self._kube = kube
        self._settings = settings
        self._reflector = Reflector(
            kube,
            PODS,
            namespace=settings.pod_namespace,
            field_selector=f"metadata.name={settings.pod}",
            on_change=lambda _kind, _pod: changed(),
            on_relist=changed,
            last_backoff_seconds=6.0,
        )

    def start(self) -> None:
        """Begin to follow it."""
        self._reflector.start()

    def stop(self) -> None:
        """Follow it no more."""
        self._reflector.stop()

    @property
    def stays(self) -> bool:
        """Whether it is there to stay: one that is being deleted may have a successor on this node already."""
        pod = self._pod()
        return pod is not None and "deletionTimestamp" not in pod["metadata"]

    @property
    def ready(self) -> bool:
        """Whether its probes say that nvidia-imex is ready."""
        conditions = ((self._pod() or {}).get("status") or {}).get("conditions") or ()
        return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)

    async def label(self) -> None:
        """Have it carry the clique's label, empty on a node without a clique; raises KubeError."""
        pod = self._pod()
        if pod is None or (pod["metadata"].get("labels") or {}).get(CLIQUE) == self._settings.clique:
            return
        body = {"metadata": {"uid": self._settings.pod_uid, "labels": {CLIQUE: self._settings.clique}}}
        await asyncio.to_thread(
            self._kube.patch, PODS, self._settings.pod, body, namespace=self._settings.pod_namespace
        )

    def _pod(self) -> Mapping[str, Any] | None:
        found = self._reflector.items().get((self._settings.pod_namespace, self._settings.pod))
        return found if found is not None and found["metadata"]["uid"] == self._settings.pod_uid else None
