"""The registration handshake, step by step as the kubelet's plugin manager does it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

from claimwright.dra._generated import registration_pb2 as messages
from claimwright.dra._generated.registration_pb2_grpc import RegistrationStub
from claimwright.dra.kubelet.channels import connected, open_channel
from claimwright.dra.kubelet.errors import RegistrationFailed
from claimwright.dra.kubelet.versions import choose_dra_version, choose_health_version
from claimwright.dra.wire import PLUGIN_TYPE, DraVersion, HealthVersion

DIAL_SECONDS: Final = 10.0
GET_INFO_SECONDS: Final = 1.0
NOTIFY_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """What a plugin says about itself; `endpoint` is never empty here."""

    type: str
    name: str
    endpoint: str
    supported_versions: tuple[str, ...]
    registration_socket: Path

    @property
    def dra_version(self) -> DraVersion:
        """The DRA version that a kubelet uses; raises RegistrationFailed."""
        return choose_dra_version(self.supported_versions)

    @property
    def health_version(self) -> HealthVersion | None:
        """The health version that a kubelet uses."""
        return choose_health_version(self.supported_versions)


async def get_info(
    registration_socket: Path,
    *,
    dial_seconds: float = DIAL_SECONDS,
    get_info_seconds: float = GET_INFO_SECONDS,
) -> PluginInfo:
    """Ask a plugin who it is, without registering it; raises RegistrationFailed."""
    async with open_channel(registration_socket) as channel:
        return await _get_info(channel, registration_socket, dial_seconds, get_info_seconds)


async def register(
    registration_socket: Path,
    *,
    accept: Callable[[PluginInfo], Awaitable[None]] | None = None,
    dial_seconds: float = DIAL_SECONDS,
    get_info_seconds: float = GET_INFO_SECONDS,
    notify_seconds: float = NOTIFY_SECONDS,
) -> PluginInfo:
    """Register a plugin: GetInfo, validation, `accept`, and the plugin is told; raises RegistrationFailed.

    `accept` is the kubelet's own part (connect the endpoint); its RegistrationFailed is told to the plugin
    too.
    """
    async with open_channel(registration_socket) as channel:
        info = await _get_info(channel, registration_socket, dial_seconds, get_info_seconds)
        try:
            validate(info)
            if accept is not None:
                await accept(info)
        except RegistrationFailed as error:
            await _notify(channel, str(error), notify_seconds)
            raise
        await _notify(channel, "", notify_seconds)
        return info


def validate(info: PluginInfo) -> None:
    """Check type and versions as the kubelet does; raises RegistrationFailed."""
    if info.type != PLUGIN_TYPE:
        raise RegistrationFailed(
            f"no handler registered for plugin type: {info.type} at socket {info.endpoint}"
        )
    if not info.name:
        raise RegistrationFailed(f"plugin at socket {info.registration_socket} has no name")
    choose_dra_version(info.supported_versions)


async def _get_info(
    channel: grpc.aio.Channel, socket: Path, dial_seconds: float, get_info_seconds: float
) -> PluginInfo:
    if not await connected(channel, timeout_seconds=dial_seconds):
        raise RegistrationFailed(f"failed to dial socket {socket}: no connection within {dial_seconds:g} s")
    try:
        found = await RegistrationStub(channel).GetInfo(messages.InfoRequest(), timeout=get_info_seconds)
    except grpc.aio.AioRpcError as error:
        raise RegistrationFailed(
            f"failed to get plugin info using RPC GetInfo at socket {socket}: "
            f"{error.code().name}: {error.details()}"
        ) from error
    return PluginInfo(
        type=found.type,
        name=found.name,
        endpoint=found.endpoint or str(socket),
        supported_versions=tuple(found.supported_versions),
        registration_socket=socket,
    )


async def _notify(channel: grpc.aio.Channel, error_text: str, notify_seconds: float) -> None:
    status = messages.RegistrationStatus(plugin_registered=not error_text, error=error_text)
    try:
        await RegistrationStub(channel).NotifyRegistrationStatus(status, timeout=notify_seconds)
    except grpc.aio.AioRpcError as error:
        raise RegistrationFailed(
            f"failed to send registration status: {error.code().name}: {error.details()}"
        ) from error
