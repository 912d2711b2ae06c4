"""Listen for clients of the fabric manager while it runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from claimwright.emulator.fabric_manager.requests import SOCKET, answer
from claimwright.emulator.model import NodeModel, NodeState
from claimwright.emulator.nvml.socket_paths import short_path

_LINE_BYTES = 4096


@asynccontextmanager
async def serve(model: NodeModel, driver_root: Path) -> AsyncIterator[None]:
    """Listen in a driver root for as long as the block lasts, and the model says that its manager runs."""
    if model.snapshot().fabric_manager is None:
        yield
        return
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    told: object = loop  # no manager yet

    def tell(state: NodeState) -> None:
        nonlocal told
        if state.fabric_manager is not told:  # waking the loop takes longer than most changes
            told = state.fabric_manager
            loop.call_soon_threadsafe(changed.set)

    door = _Door(model, driver_root / SOCKET)
    await door.follow()
    unsubscribe = model.subscribe(tell)
    follower = asyncio.create_task(_follow(door, changed))
    try:
        yield
    finally:
        unsubscribe()
        follower.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await follower
        door.close()


async def _follow(door: _Door, changed: asyncio.Event) -> None:
    while True:
        await changed.wait()
        changed.clear()
        await door.follow()


class _Door:
    """The listening socket, there or not; clients that are connected go when it closes."""

    def __init__(self, model: NodeModel, path: Path) -> None:
        self._model = model
        self._path = path
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.StreamWriter] = set()

    async def follow(self) -> None:
        manager = self._model.snapshot().fabric_manager
        if manager is not None and manager.running:
            await self._open()
        else:
            self.close()

    async def _open(self) -> None:
        if self._server is not None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with short_path(self._path) as short:
            self._server = await asyncio.start_unix_server(self._serve, short, limit=_LINE_BYTES)
        self._path.chmod(0o600)

    def close(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        self._path.unlink(missing_ok=True)
        for client in tuple(self._clients):
            client.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        try:
            while line := await reader.readline():
                writer.write(answer(self._model, line.decode("ascii", "replace")).encode())
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # gone, or a line beyond the limit: it gets no answer, others do
        finally:
            self._clients.discard(writer)
            writer.close()
