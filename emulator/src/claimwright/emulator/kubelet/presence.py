"""A node's presence in the cluster: registration, status reports and heartbeat leases."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from claimwright.dra.kube import KubeError, NotFound
from claimwright.emulator.kubelet.api import Api
from claimwright.emulator.kubelet.clock import Clock
from claimwright.emulator.kubelet.node_objects import StandInNode, lease_object, node_object, node_status
from claimwright.emulator.kubelet.pods import JsonObject
from claimwright.emulator.kubelet.timings import Timings

_LOG: Final = logging.getLogger(__name__)


class NodePresence:
    """Keeps the Node object and its lease in the API, also when somebody deletes them."""

    def __init__(
        self,
        node: StandInNode,
        address: str,
        pod_range: str,
        *,
        api: Api,
        clock: Clock,
        timings: Timings,
        version: str,
    ) -> None:
        self._node = node
        self._address = address
        self._pod_range = pod_range
        self._api = api
        self._clock = clock
        self._timings = timings
        self._version = version
        self._uid = ""
        self._since = clock.now()

    async def register(self) -> None:
        """Create or take over the Node, say that it is ready, and write the first heartbeat."""
        found = await self._api.register_node(node_object(self._node, self._pod_range))
        self._uid = found["metadata"]["uid"]
        # The lease first: a node that says Ready without one is taken for dead after the grace period.
        await self._api.create_lease(self._lease())
        await self._api.patch_node_status(self._node.name, self._status())

    async def renew_leases(self) -> None:
        """Renew the lease for ever."""
        while True:
            await self._clock.sleep(self._timings.lease_renew * random.uniform(0.96, 1.04))  # noqa: S311  # spread
            await self._guarded(self._renew, "lease")

    async def report_status(self) -> None:
        """Report the node's status for ever; a deleted Node is registered again, as a kubelet does."""
        while True:
            await self._clock.sleep(self._timings.node_status * random.uniform(0.96, 1.04))  # noqa: S311  # spread
            await self._guarded(self._report, "status")

    async def _renew(self) -> None:
        await self._or_register(self._api.renew_lease(self._lease()))

    async def _report(self) -> None:
        await self._or_register(self._api.patch_node_status(self._node.name, self._status()))

    async def _or_register(self, call: Awaitable[object]) -> None:
        try:
            await call
        except NotFound:
            _LOG.warning("node %s or its lease was deleted: registering it again", self._node.name)
            await self.register()

    def _lease(self) -> JsonObject:
        seconds = self._timings.lease_duration
        return lease_object(self._node, self._uid, duration_seconds=seconds, now=self._clock.now())

    def _status(self) -> JsonObject:
        return node_status(
            self._node, address=self._address, version=self._version, now=self._clock.now(), since=self._since
        )

    async def _guarded(self, action: Callable[[], Awaitable[None]], what: str) -> None:
        try:
            await action()
        except KubeError as error:
            _LOG.warning("%s of node %s: %s", what, self._node.name, error)
