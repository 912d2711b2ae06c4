"""The health service for probes: grpc.health.v1, answered by asking the plugin's own sockets.

A healthy answer means that the kubelet would get one as well: GetInfo on the registration socket and an empty
NodePrepareResources on the DRA socket. Both messages of the service are one field each
(https://github.com/grpc/grpc/blob/master/doc/health-checking.md), written here by hand.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc
import grpc.aio

logger = logging.getLogger(__name__)
SERVICES: Final = ("", "liveness")
SERVING: Final = 1
NOT_SERVING: Final = 2
_PROBE_TIMEOUT_SECONDS: Final = 5.0
_WATCH_INTERVAL_SECONDS: Final = 5.0
Probe = Callable[[], Awaitable[None]]


class HealthServer:
    """Serves Check and Watch for services "" and "liveness"; others are NOT_FOUND."""

    def __init__(
        self, probe: Probe, *, host: str = "[::]", timeout_seconds: float = _PROBE_TIMEOUT_SECONDS
    ) -> None:
        self._probe = probe
        self._host = host
        self._timeout_seconds = timeout_seconds
        self._server: grpc.aio.Server | None = None

    async def start(self, port: int) -> int:
        """Listen on `port`, 0 for any; returns the port, OSError when it is taken."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((self._handlers(),))
        try:
            bound = self._server.add_insecure_port(f"{self._host}:{port}")
        except RuntimeError as error:
            raise OSError(f"health port {port} cannot be used: {error}") from error
        await self._server.start()
        return bound

    async def stop(self) -> None:
        """Stop at once."""
        if self._server is not None:
            await self._server.stop(grace=0)

    def _handlers(self) -> grpc.GenericRpcHandler[Any, Any]:
        codec: dict[str, Any] = {"request_deserializer": service_name, "response_serializer": answer}
        return grpc.method_handlers_generic_handler(
            "grpc.health.v1.Health",
            {
                "Check": grpc.unary_unary_rpc_method_handler(self._check, **codec),
                "Watch": grpc.unary_stream_rpc_method_handler(self._watch, **codec),
            },
        )

    async def _check(self, service: str, context: grpc.aio.ServicerContext[str, int]) -> int:
        if service not in SERVICES:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"unknown service {service!r}")
        return await self._status()

    async def _watch(
        self,
        service: str,
        context: grpc.aio.ServicerContext[str, int],  # noqa: ARG002  the shape of a handler
    ) -> AsyncIterator[int]:
        last = None
        while True:
            status = await self._status() if service in SERVICES else 3  # SERVICE_UNKNOWN
            if status != last:
                yield status
                last = status
            await asyncio.sleep(_WATCH_INTERVAL_SECONDS)

    async def _status(self) -> int:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._probe()
        except Exception as error:  # noqa: BLE001  whatever fails, the answer is the same
            logger.warning("health probe failed: %s", error or type(error).__name__)
            return NOT_SERVING
        return SERVING


def service_name(message: bytes) -> str:
    """Read HealthCheckRequest: field 1, a string; rubbish is a service that does not exist."""
    if not message:
        return ""
    if message[0] != 0x0A or len(message) < 2 or message[1] != len(message) - 2:
        return "\ufffd"
    return message[2:].decode(errors="replace")


def answer(status: int) -> bytes:
    """Write HealthCheckResponse: field 1, an enumerator below 128."""
    return bytes((0x08, status))
