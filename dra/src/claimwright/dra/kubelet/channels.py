"""gRPC channels to a plugin's sockets."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import grpc

from claimwright.dra.kubelet.errors import CallFailed

# A plugin that restarts is found again soon; gRPC's own back-off would grow to two minutes.
_OPTIONS: Final = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 3000),
    # One connection per client, as two processes would have; gRPC shares them inside a process otherwise.
    ("grpc.use_local_subchannel_pool", 1),
)


def open_channel(socket: str | Path) -> grpc.aio.Channel:
    """Give a channel to a unix socket; it connects by itself."""
    return grpc.aio.insecure_channel(f"unix:{socket}", options=_OPTIONS)


async def connected(channel: grpc.aio.Channel, *, timeout_seconds: float) -> bool:
    """Wait until the channel is connected; says whether it is."""
    try:
        await asyncio.wait_for(channel.channel_ready(), timeout_seconds)
    except TimeoutError:
        return False
    return True


def call_failed(what: str, error: grpc.aio.AioRpcError) -> CallFailed:
    """Turn a gRPC error into one that names the call, as `<call>: rpc error: code = … desc = …`."""
    code = error.code().name
    return CallFailed(f"{what}: rpc error: code = {code} desc = {error.details()}", code=code)
