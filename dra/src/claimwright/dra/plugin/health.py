"""The health services, v1 and v1alpha1, over one source."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Final

import grpc

from claimwright.dra._generated import health_v1_pb2 as v1
from claimwright.dra._generated import health_v1_pb2_grpc, health_v1alpha1_pb2_grpc
from claimwright.dra._generated import health_v1alpha1_pb2 as v1alpha1
from claimwright.dra.plugin.driver import HealthSource
from claimwright.dra.prepared import DeviceHealth
from claimwright.dra.wire import v1_health

_KUBELET_TIMEOUT_SECONDS: Final = 30


class HealthStream:
    """Gives each subscriber the complete list on every change, and again well before it would go stale."""

    def __init__(self, source: HealthSource, *, resend_seconds: float | None = None) -> None:
        self._source = source
        self._resend_seconds = resend_seconds
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End all streams."""
        self._closing.set()

    async def messages(self) -> AsyncGenerator[v1.NodeWatchResourcesResponse, None]:
        """Give the messages of one subscriber until `close`."""
        changes = self._source.watch()
        closing = asyncio.create_task(self._closing.wait())
        coming = asyncio.ensure_future(anext(changes))
        last: Sequence[DeviceHealth] | None = None
        try:
            while not self._closing.is_set():
                await asyncio.wait(
                    {coming, closing}, timeout=self._period(last), return_when=asyncio.FIRST_COMPLETED
                )
                if closing.done():
                    return
                if coming.done():
                    last = coming.result()  # StopAsyncIteration: the source has no more to say
                    coming = asyncio.ensure_future(anext(changes))
                if last is not None:
                    yield v1_health(last)
        except StopAsyncIteration:
            return
        finally:
            closing.cancel()
            coming.cancel()
            await asyncio.gather(closing, coming, return_exceptions=True)

    def _period(self, last: Sequence[DeviceHealth] | None) -> float | None:
        if last is None:
            return None
        if self._resend_seconds is not None:
            return self._resend_seconds
        # A third of the shortest timeout: one late message does not make a device Unknown.
        timeouts = [item.timeout_seconds for item in last if item.timeout_seconds > 0]
        return min([*timeouts, _KUBELET_TIMEOUT_SECONDS]) / 3


class HealthV1(health_v1_pb2_grpc.DRAResourceHealthServicer):
    """DRAResourceHealth v1."""

    def __init__(self, stream: HealthStream) -> None:
        self._stream = stream

    async def NodeWatchResources(
        self, request: v1.NodeWatchResourcesRequest, context: object
    ) -> AsyncIterator[v1.NodeWatchResourcesResponse]:
        """Stream the health of all devices."""
        async with aclosing(self._stream.messages()) as messages:
            async for message in messages:
                yield message


class HealthV1alpha1(health_v1alpha1_pb2_grpc.DRAResourceHealthServicer):
    """DRAResourceHealth v1alpha1: the same bytes under another name."""

    def __init__(self, stream: HealthStream) -> None:
        self._stream = stream

    async def NodeWatchResources(
        self, request: v1alpha1.NodeWatchResourcesRequest, context: object
    ) -> AsyncIterator[v1alpha1.NodeWatchResourcesResponse]:
        """Stream the health of all devices."""
        async with aclosing(self._stream.messages()) as messages:
            async for message in messages:
                yield v1alpha1.NodeWatchResourcesResponse.FromString(message.SerializeToString())


def add_health_services(server: grpc.aio.Server, stream: HealthStream) -> None:
    """Serve both versions; the kubelet picks one."""
    health_v1_pb2_grpc.add_DRAResourceHealthServicer_to_server(HealthV1(stream), server)
    health_v1alpha1_pb2_grpc.add_DRAResourceHealthServicer_to_server(HealthV1alpha1(stream), server)
