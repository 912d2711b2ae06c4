"""A kubelet's calls to one plugin endpoint, with the kubelet's deadlines and its checks of the replies."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import grpc

from claimwright.dra._generated import (
    dra_v1_pb2,
    dra_v1_pb2_grpc,
    dra_v1beta1_pb2,
    dra_v1beta1_pb2_grpc,
    health_v1_pb2,
    health_v1_pb2_grpc,
    health_v1alpha1_pb2,
    health_v1alpha1_pb2_grpc,
)
from claimwright.dra.claims import ClaimReference, ClaimUid
from claimwright.dra.kubelet.channels import call_failed, connected, open_channel
from claimwright.dra.kubelet.errors import InvalidReply
from claimwright.dra.kubelet.handshake import PluginInfo, get_info
from claimwright.dra.prepared import DeviceHealth
from claimwright.dra.wire import (
    CALL_DEADLINE_SECONDS,
    DraVersion,
    HealthResponse,
    HealthVersion,
    PrepareOutcome,
    PrepareResponse,
    UnprepareResponse,
    device_healths,
    prepared_device,
)

_PREPARE: Final = "NodePrepareResources"
_UNPREPARE: Final = "NodeUnprepareResources"


class PluginClient:
    """Speaks to one DRA socket in one version. Close it, or use it as an async context manager."""

    def __init__(
        self, endpoint: str | Path, version: DraVersion = "v1", *, registration_socket: Path | None = None
    ) -> None:
        self.endpoint = str(endpoint)
        self.version: DraVersion = version
        self._registration_socket = registration_socket
        self._channel = open_channel(endpoint)
        self._v1 = dra_v1_pb2_grpc.DRAPluginStub(self._channel)
        self._v1beta1 = dra_v1beta1_pb2_grpc.DRAPluginStub(self._channel)

    @classmethod
    def of(cls, info: PluginInfo) -> Self:
        """Speak to a plugin in the version that a kubelet picks; raises RegistrationFailed without one."""
        return cls(info.endpoint, info.dra_version, registration_socket=info.registration_socket)

    async def info(self) -> PluginInfo:
        """Ask the plugin who it is, on its registration socket or the endpoint; raises RegistrationFailed."""
        return await get_info(self._registration_socket or Path(self.endpoint))

    async def connected(self, *, timeout_seconds: float) -> bool:
        """Wait until the endpoint answers; says whether it does."""
        return await connected(self._channel, timeout_seconds=timeout_seconds)

    async def prepare(
        self, claims: Sequence[ClaimReference], *, timeout_seconds: float = CALL_DEADLINE_SECONDS
    ) -> Mapping[ClaimUid, PrepareOutcome]:
        """Prepare claims: devices or the plugin's error text for each; raises CallFailed, InvalidReply."""
        reply = await self.prepare_raw(claims, timeout_seconds=timeout_seconds)
        _check_reply(_PREPARE, claims, reply.claims)
        return {
            ClaimUid(uid): item.error or tuple(prepared_device(device) for device in item.devices)
            for uid, item in reply.claims.items()
        }

    async def release(
        self, claims: Sequence[ClaimReference], *, timeout_seconds: float = CALL_DEADLINE_SECONDS
    ) -> Mapping[ClaimUid, str]:
        """Unprepare claims: the plugin's error text, empty on success; raises CallFailed, InvalidReply."""
        reply = await self.release_raw(claims, timeout_seconds=timeout_seconds)
        _check_reply(_UNPREPARE, claims, reply.claims)
        return {ClaimUid(uid): item.error for uid, item in reply.claims.items()}

    async def prepare_raw(
        self, claims: Sequence[ClaimReference], *, timeout_seconds: float = CALL_DEADLINE_SECONDS
    ) -> PrepareResponse:
        """Send NodePrepareResources and give the reply unchecked; raises CallFailed."""
        try:
            if self.version == "v1":
                return await self._v1.NodePrepareResources(
                    dra_v1_pb2.NodePrepareResourcesRequest(claims=[_v1_claim(claim) for claim in claims]),
                    timeout=timeout_seconds,
                )
            return await self._v1beta1.NodePrepareResources(
                dra_v1beta1_pb2.NodePrepareResourcesRequest(
                    claims=[_v1beta1_claim(claim) for claim in claims]
                ),
                timeout=timeout_seconds,
            )
        except grpc.aio.AioRpcError as error:
            raise call_failed(_PREPARE, error) from error

    async def release_raw(
        self, claims: Sequence[ClaimReference], *, timeout_seconds: float = CALL_DEADLINE_SECONDS
    ) -> UnprepareResponse:
        """Send NodeUnprepareResources and give the reply unchecked; raises CallFailed."""
        try:
            if self.version == "v1":
                return await self._v1.NodeUnprepareResources(
                    dra_v1_pb2.NodeUnprepareResourcesRequest(claims=[_v1_claim(claim) for claim in claims]),
                    timeout=timeout_seconds,
                )
            return await self._v1beta1.NodeUnprepareResources(
                dra_v1beta1_pb2.NodeUnprepareResourcesRequest(
                    claims=[_v1beta1_claim(claim) for claim in claims]
                ),
                timeout=timeout_seconds,
            )
        except grpc.aio.AioRpcError as error:
            raise call_failed(_UNPREPARE, error) from error

    async def watch_health(
        self, version: HealthVersion = "v1", *, timeout_seconds: float | None = None
    ) -> AsyncIterator[tuple[DeviceHealth, ...]]:
        """Give the plugin's health messages until it ends the stream; raises CallFailed."""
        stream: AsyncIterable[HealthResponse]
        if version == "v1":
            request = health_v1_pb2.NodeWatchResourcesRequest()
            stub = health_v1_pb2_grpc.DRAResourceHealthStub(self._channel)
            stream = stub.NodeWatchResources(request, timeout=timeout_seconds)
        else:
            old_request = health_v1alpha1_pb2.NodeWatchResourcesRequest()
            old_stub = health_v1alpha1_pb2_grpc.DRAResourceHealthStub(self._channel)
            stream = old_stub.NodeWatchResources(old_request, timeout=timeout_seconds)
        try:
            async for message in stream:
                yield device_healths(message)
        except grpc.aio.AioRpcError as error:
            raise call_failed("NodeWatchResources", error) from error

    async def close(self) -> None:
        """Close the connection; twice is fine."""
        await self._channel.close(None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def failures(verb: str, claims: Iterable[ClaimReference], outcomes: Mapping[ClaimUid, object]) -> list[str]:
    """Give the errors of single claims in the kubelet's words, as they appear in pod events."""
    return [
        f"{verb} failed for ResourceClaim {claim.name}: {outcomes[claim.uid]}"
        for claim in claims
        if isinstance(outcomes.get(claim.uid), str) and outcomes[claim.uid]
    ]


def _check_reply(verb: str, claims: Sequence[ClaimReference], entries: Mapping[str, object]) -> None:
    asked = {claim.uid for claim in claims}
    foreign = sorted(uid for uid in entries if uid not in asked)
    if foreign:
        raise InvalidReply(f"{verb} returned result for unknown claim UID {foreign[0]}")
    missing = len(asked) - len(entries)
    if missing:
        raise InvalidReply(f"{verb} skipped {missing} ResourceClaims")


def _v1_claim(claim: ClaimReference) -> dra_v1_pb2.Claim:
    return dra_v1_pb2.Claim(namespace=claim.namespace, uid=claim.uid, name=claim.name)


def _v1beta1_claim(claim: ClaimReference) -> dra_v1beta1_pb2.Claim:
    return dra_v1beta1_pb2.Claim(namespace=claim.namespace, uid=claim.uid, name=claim.name)
