"""The drivers of one node: found by their registration sockets, called through the instance to use now.

Per driver there may be several instances (a rolling update). A call goes to the most recently registered one
that is connected, else to the most recently registered one, as in the kubelet since 1.33.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from claimwright.dra.claims import ClaimReference, ClaimUid, DriverName
from claimwright.dra.kubelet import CallFailed, PluginClient, PluginInfo, PluginWatcher
from claimwright.dra.kubelet import KubeletError as PluginFault
from claimwright.dra.prepared import DeviceHealth, PreparedDevice
from claimwright.dra.wire import HealthVersion
from claimwright.emulator.kubelet.clock import Clock
from claimwright.emulator.kubelet.errors import PluginMissing, PrepareFailed, ReleaseFailed
from claimwright.emulator.kubelet.node_objects import StandInNode
from claimwright.emulator.kubelet.tasks import TaskOwner
from claimwright.emulator.kubelet.timings import Timings


class PluginListener(Protocol):
    """Who wants to know what happens to the drivers."""

    def driver_connected(self, driver: str) -> None:
        """Take note that a driver has at least one connected instance."""
        ...

    def driver_lost(self, driver: str) -> None:
        """Take note that a driver has no connected instance any more."""
        ...

    def health_reported(self, driver: str, reports: Sequence[DeviceHealth]) -> None:
        """Take the health of all devices of a driver."""
        ...

    def health_lost(self, driver: str) -> None:
        """Take note that a driver's health stream has ended."""
        ...


@dataclass(eq=False)
class _Instance:
    """One registered endpoint, its one channel and the tasks that follow it."""

    info: PluginInfo
    client: PluginClient
    tasks: TaskOwner
    connected: bool = False


class NodePlugins:
    """Owner of a node's plugin connections; makes the calls that `NodeClaims` decides on."""

    def __init__(
        self, node: StandInNode, *, clock: Clock, timings: Timings, listener: PluginListener
    ) -> None:
        self._clock = clock
        self._timings = timings
        self._listener = listener
        self._instances: dict[str, list[_Instance]] = {}  # oldest registration first
        self._watcher = PluginWatcher(
            node.registry_dir, self._registered, self._gone, poll_seconds=timings.plugin_scan
        )

    async def start(self) -> None:
        """Begin to look for registration sockets."""
        await self._watcher.start()

    async def close(self) -> None:
        """Drop all connections; nothing is told to the listener."""
        await self._watcher.stop()
        instances = [instance for known in self._instances.values() for instance in known]
        self._instances.clear()
        for instance in instances:
            await instance.tasks.close()
            await instance.client.close()

    def drivers(self) -> tuple[str, ...]:
        """Return the names of the drivers that are registered."""
        return tuple(sorted(self._instances))

    def require(self, driver: DriverName) -> None:
        """Raise `PluginMissing` when no instance of the driver is registered."""
        self._choose(driver)

    async def prepare(
        self, driver: DriverName, claims: Sequence[ClaimReference]
    ) -> Mapping[ClaimUid, tuple[PreparedDevice, ...] | str]:
        """Call NodePrepareResources on the instance to use now."""
        client = self._choose(driver).client
        try:
            return await client.prepare(claims, timeout_seconds=self._timings.prepare_call)
        except PluginFault as error:
            raise PrepareFailed(str(error)) from error

    async def release(self, driver: DriverName, claims: Sequence[ClaimReference]) -> Mapping[ClaimUid, str]:
        """Call NodeUnprepareResources on the instance to use now."""
        client = self._choose(driver).client
        try:
            return await client.release(claims, timeout_seconds=self._timings.prepare_call)
        except PluginFault as error:
            raise ReleaseFailed(str(error)) from error

    def _choose(self, driver: str) -> _Instance:
        known = self._instances.get(driver)
        if not known:
            raise PluginMissing(f"DRA driver {driver} is not registered")
        return next((instance for instance in reversed(known) if instance.connected), known[-1])

    async def _registered(self, info: PluginInfo) -> None:
        instance = _Instance(info, PluginClient.of(info), TaskOwner())
        self._instances.setdefault(info.name, []).append(instance)
        instance.tasks.spawn(self._follow_connection(instance), name=f"connection {info.endpoint}")
        if info.health_version:
            work = self._follow_health(instance, info.health_version)
            instance.tasks.spawn(work, name=f"health {info.endpoint}")

    async def _gone(self, info: PluginInfo) -> None:
        known = self._instances.get(info.name, [])
        leaving = [instance for instance in known if instance.info == info]
        staying = [instance for instance in known if instance.info != info]
        if staying:
            self._instances[info.name] = staying
        else:
            self._instances.pop(info.name, None)
        for instance in leaving:
            await instance.tasks.close()
            await instance.client.close()
        if leaving and info.health_version:
            self._listener.health_lost(info.name)
        self._tell(info.name)

    async def _follow_connection(self, instance: _Instance) -> None:
        """Keep `connected` true to the channel; the kubelet gets the same from gRPC's connection events."""
        told = False
        while True:
            now = await instance.client.connected(timeout_seconds=self._timings.plugin_scan)
            if now != instance.connected or not told:
                instance.connected = now
                self._tell(instance.info.name)
                told = True
            await self._clock.sleep(self._timings.plugin_scan)

    def _tell(self, driver: str) -> None:
        if any(instance.connected for instance in self._instances.get(driver, ())):
            self._listener.driver_connected(driver)
        else:
            self._listener.driver_lost(driver)

    async def _follow_health(self, instance: _Instance, version: HealthVersion) -> None:
        while True:
            try:
                async for reports in instance.client.watch_health(version):
                    self._listener.health_reported(instance.info.name, reports)
            except CallFailed:
                pass  # the end of a stream and its failure mean the same: nothing is known any more
            self._listener.health_lost(instance.info.name)
            await self._clock.sleep(self._timings.health_reopen)
