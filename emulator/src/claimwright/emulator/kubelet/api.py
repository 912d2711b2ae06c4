"""The API server as the stand-in uses it: `dra`'s synchronous door behind a few threads for all nodes."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from claimwright.dra.kube import (
    LEASES,
    NODES,
    PODS,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
    AlreadyExists,
    Conflict,
    Kube,
    KubeError,
    NotFound,
    Resource,
)
from claimwright.emulator.kubelet.node_objects import LEASE_NAMESPACE
from claimwright.emulator.kubelet.pods import JsonObject, PodReference

# Recorders of kubelets write core/v1 events; the events.k8s.io kind has other required fields.
CORE_EVENTS: Final = Resource("", "v1", "events", "Event", namespaced=True)

P = ParamSpec("P")
T = TypeVar("T")


class Api:
    """What a kubelet says to the API server, asynchronously; calls raise `KubeError` as the door does."""

    def __init__(self, kube: Kube, *, threads: int = 12) -> None:
        # Fewer than the door keeps connections for, with some left for the watch and for plugins beside it.
        self.kube = kube
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="stand-in-api")

    def close(self) -> None:
        """End the threads; calls in flight finish by the door's own deadlines."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def server_version(self) -> tuple[int, int]:
        """Return the server's version, which the stand-in's own follows."""
        return await self._call(self.kube.server_version)

    async def claim(self, namespace: str, name: str) -> JsonObject:
        """Read a ResourceClaim, uncached as the kubelet does."""
        return await self._call(self.kube.get, RESOURCE_CLAIMS, name, namespace=namespace)

    async def patch_pod_status(self, pod: PodReference, status: Mapping[str, object]) -> JsonObject:
        """Merge into a pod's status; a pod of another uid under that name raises `Conflict`."""
        body = {"metadata": {"uid": pod.uid}, "status": status}
        return await self._call(
            self.kube.patch,
            PODS,
            pod.name,
            body,
            namespace=pod.namespace,
            subresource="status",
            kind="strategic",
        )

    async def delete_pod(self, pod: PodReference) -> None:
        """Remove the pod's object for good; a pod that is gone or replaced already is fine."""
        try:
            await self._call(
                self.kube.delete, PODS, pod.name, namespace=pod.namespace, uid=pod.uid, grace_seconds=0
            )
        except (NotFound, Conflict):
            return

    async def record(self, event: JsonObject) -> None:
        """Write an event."""
        await self._call(self.kube.create, CORE_EVENTS, event)

    async def register_node(self, node: JsonObject) -> JsonObject:
        """Create the Node, or bring the labels and annotations of an existing one up to date."""
        try:
            return await self._call(self.kube.create, NODES, node)
        except AlreadyExists:
            metadata = {key: node["metadata"][key] for key in ("labels", "annotations")}
            return await self._call(self.kube.patch, NODES, node["metadata"]["name"], {"metadata": metadata})

    async def patch_node_status(self, name: str, status: JsonObject) -> JsonObject:
        """Merge into a Node's status; conditions merge by type, so those of others stay."""
        return await self._call(
            self.kube.patch, NODES, name, {"status": status}, subresource="status", kind="strategic"
        )

    async def create_lease(self, lease: JsonObject) -> None:
        """Make the heartbeat lease; one that is there already gets the new owner and time."""
        try:
            await self._call(self.kube.create, LEASES, lease)
        except AlreadyExists:
            owners = {
                "metadata": {"ownerReferences": lease["metadata"]["ownerReferences"]},
                "spec": lease["spec"],
            }
            await self._call(
                self.kube.patch, LEASES, lease["metadata"]["name"], owners, namespace=LEASE_NAMESPACE
            )

    async def renew_lease(self, lease: JsonObject) -> None:
        """Write the heartbeat; a lease that is not there raises `NotFound`."""
        spec = {"spec": lease["spec"]}
        await self._call(self.kube.patch, LEASES, lease["metadata"]["name"], spec, namespace=LEASE_NAMESPACE)

    async def wipe_slices(self, node_name: str, driver: str | None = None) -> None:
        """Delete the node's ResourceSlices, of one driver or of all; none there is fine."""
        selector = f"spec.nodeName={node_name}" + (f",spec.driver={driver}" if driver else "")
        try:
            await self._call(self.kube.delete_collection, RESOURCE_SLICES, field_selector=selector)
        except NotFound:
            return

    async def delete_node(self, name: str) -> None:
        """Remove the Node and its lease; missing ones are fine."""
        for resource, namespace in ((NODES, None), (LEASES, LEASE_NAMESPACE)):
            try:
                await self._call(self.kube.delete, resource, name, namespace=namespace)
            except NotFound:
                continue

    async def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        bound = functools.partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._pool, bound)


__all__ = ["CORE_EVENTS", "Api", "KubeError"]
