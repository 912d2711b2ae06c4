"""Asks the plugin's own sockets what the kubelet would ask, without doing anything."""

from __future__ import annotations

from typing import Final

import grpc.aio

_GET_INFO: Final = "/pluginregistration.Registration/GetInfo"
_PREPARE: Final = "/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/NodePrepareResources"
_TIMEOUT_SECONDS: Final = 4.0


async def probe_sockets(registration_socket: str, dra_socket: str) -> None:
    """Return when both answer; grpc.aio.AioRpcError tells which one does not."""
    await _ask(registration_socket, _GET_INFO)
    await _ask(dra_socket, _PREPARE)


async def _ask(socket: str, method: str) -> None:
    async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        # Both requests are empty messages, which on the wire are no bytes at all.
        call = channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
        await call(b"", timeout=_TIMEOUT_SECONDS)
