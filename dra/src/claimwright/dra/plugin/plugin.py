"""A whole DRA plugin: sockets, calls, slices, health, metadata, in the order in which they start and stop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final, Self

import grpc

from claimwright.dra import metadata as metadata_format
from claimwright.dra.claims import Claim, ClaimReference
from claimwright.dra.kube import RESOURCE_CLAIMS, Kube, NotFound
from claimwright.dra.plugin.calls import Calls
from claimwright.dra.plugin.driver import Driver, HealthSource, PluginFolders
from claimwright.dra.plugin.errors import ClaimGone, PluginError
from claimwright.dra.plugin.health import HealthStream, add_health_services
from claimwright.dra.plugin.leadership import Leadership
from claimwright.dra.plugin.metadata_files import MetadataFiles
from claimwright.dra.plugin.publisher import SlicePublisher
from claimwright.dra.plugin.registration import Registration
from claimwright.dra.plugin.service import add_dra_services
from claimwright.dra.plugin.sockets import SocketServer, dra_socket, registration_socket
from claimwright.dra.plugin.turns import AnyTurn, OneAtATime, Turn
from claimwright.dra.slices import Pool
from claimwright.dra.wire import (
    DRA_VERSIONS,
    HEALTH_VERSIONS,
    DraVersion,
    dra_service_name,
    health_service_name,
)

_LOG: Final = logging.getLogger(__name__)
_CLAIM_CONNECTIONS: Final = 8


class Plugin:
    """Serves a Driver to the kubelet and its pools to the API server.

    An `instance` (the pod's uid) gives the sockets names of their own, so that the next version can start
    while this one still runs; both then share one lock for calls, and the newest one publishes. `serialize`
    keeps the driver's calls one at a time; turn it off for a driver with locks of its own. Faults outside of
    calls go to `on_error`; one that is not recoverable means that the process should end. `on_read` takes the seconds
    of each read of a claim, failed ones included.
    """

    def __init__(
        self,
        driver_name: str,
        node_name: str,
        driver: Driver,
        *,
        kube: Kube,
        folders: PluginFolders,
        instance: str | None = None,
        versions: Sequence[DraVersion] = DRA_VERSIONS,
        publish: Pool | Sequence[Pool] | None = None,
        metadata: bool = False,
        metadata_versions: Sequence[str] = metadata_format.VERSIONS,
        health: HealthSource | None = None,
        health_resend_seconds: float | None = None,
        serialize: bool = True,
        on_error: Callable[[PluginError], None] | None = None,
        on_read: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        self.driver_name = driver_name
        self.node_name = node_name
        self.folders = folders
        self._initial = (publish,) if isinstance(publish, Pool) else publish
        self._claims = kube.live_reader(connections=_CLAIM_CONNECTIONS)
        self._on_read = on_read
        self.metadata_files = (
            MetadataFiles(driver_name, folders.plugin_dir, folders.cdi_dir, versions=metadata_versions)
            if metadata
            else None
        )
        self._leadership = None if instance is None else Leadership(folders.plugin_dir, instance)
        self.publisher = SlicePublisher(
            kube,
            driver_name,
            node_name=node_name,
            on_error=on_error,
            leads=self._leadership.holds if self._leadership else lambda: True,
        )
        self._health = HealthStream(health, resend_seconds=health_resend_seconds) if health else None
        self._calls = Calls(
            driver_name,
            driver,
            self._fetch,
            turn=_turn(folders, serialize=serialize, shared=instance is not None),
            metadata=self.metadata_files,
        )
        self._versions = tuple(versions)
        endpoint = dra_socket(folders.plugin_dir, instance)
        services = [dra_service_name(version) for version in self._versions]
        if self._health is not None:
            services += [health_service_name(version) for version in HEALTH_VERSIONS]
        self.registration = Registration(driver_name, str(endpoint), tuple(services))
        self._dra = SocketServer(endpoint, self._add_services)
        self._registrar = SocketServer(
            registration_socket(folders.registry_dir, driver_name, instance), self.registration.add_to
        )

    def on_kubelet_again(self, call: Callable[[], None]) -> None:
        """Call back whenever a kubelet registers the plugin that was registered before: it was restarted."""
        self.registration.on_again = call

    @property
    def endpoint(self) -> str:
        """The path of the DRA socket."""
        return str(self._dra.path)

    @property
    def registration_path(self) -> str:
        """The path of the registration socket."""
        return str(self._registrar.path)

    @property
    def serving(self) -> bool:
        """Whether both sockets are in their places; for health probes."""
        return self._dra.present and self._registrar.present

    async def start(self) -> None:
        """Serve, then register, then publish; raises SocketUnusable or InvalidSlice, nothing is left then."""
        if self._initial is not None:
            self.publisher.update(*self._initial)
        self.folders.plugin_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        if self._leadership is not None:
            self._leadership.take()
        try:
            # The kubelet calls as soon as it sees the registration socket, so that one comes last.
            await self._dra.start()
            await self._registrar.start()
        except BaseException:
            await self._dra.stop(grace_seconds=0)
            if self._leadership is not None:
                self._leadership.leave()
            raise
        self.publisher.start()
        _LOG.info("plugin serves", extra={"driver": self.driver_name, "endpoint": self.endpoint})

    async def stop(self, *, grace_seconds: float = 30.0) -> None:
        """Deregister, finish running calls in the grace, stop publishing; slices stay. Twice is fine."""
        await self._registrar.stop(grace_seconds=0.5)
        if self._health is not None:
            self._health.close()
        await self._dra.stop(grace_seconds=grace_seconds)
        if not await self._calls.drain(timeout_seconds=grace_seconds):
            _LOG.error("calls still ran after %s s", grace_seconds, extra={"driver": self.driver_name})
        await asyncio.to_thread(self.publisher.stop)
        if self._leadership is not None:
            self._leadership.leave()
        await self._claims.close()
        _LOG.info("plugin stopped", extra={"driver": self.driver_name})

    async def withdraw(self) -> None:
        """Delete the driver's slices, for one that leaves the node; raises KubeError. Stop it as well."""
        await asyncio.to_thread(self.publisher.withdraw)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _add_services(self, server: grpc.aio.Server) -> None:
        add_dra_services(server, self._calls, self._versions)
        if self._health is not None:
            add_health_services(server, self._health)

    async def _fetch(self, reference: ClaimReference) -> Claim:
        started = time.perf_counter()
        try:
            found = await self._claims.get(RESOURCE_CLAIMS, reference.name, namespace=reference.namespace)
        except NotFound as error:
            raise ClaimGone(f"claim {reference} does not exist") from error
        finally:
            self._on_read(time.perf_counter() - started)
        uid = found["metadata"]["uid"]
        if uid != reference.uid:
            raise ClaimGone(f"claim {reference} got replaced: expected uid {reference.uid}, found {uid}")
        return Claim.from_object(found)


def _turn(folders: PluginFolders, *, serialize: bool, shared: bool) -> Turn:
    if not serialize:
        return AnyTurn()
    return OneAtATime(folders.plugin_dir / "serialize.lock" if shared else None)
