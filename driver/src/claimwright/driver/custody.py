"""Who of the driver's instances on a node may change it: one at a time, and it hands over when another one asks.

During a rolling update the old and the new pod run side by side, and the kubelet may call either. The journal belongs
to the instance that holds the folder's lock. Another one that is called asks for it through a socket beside the lock:
the holder lets running calls end, closes the journal and frees the lock; the other reads the journal and goes on. Calls
that arrive in between wait. An instance that was killed frees the lock with its life, whatever it was doing.

Lock order: `_changing`, then the queue for the lock, then the lock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from claimwright.driver.errors import NodeUnusable, TryAgain
from claimwright.driver.folder_lock import FolderLock

logger = logging.getLogger(__name__)
SOCKET: Final = "handover.sock"
QUEUE: Final = "driver.next"
_CALL_SECONDS: Final = 30.0
Change = Callable[[], Awaitable[None]]


class Custody:
    """Begun before the journal is read, settled when calls may come, ended when none will."""

    def __init__(self, folder: Path, *, shared: bool, call_seconds: float = _CALL_SECONDS) -> None:
        self._lock = FolderLock(folder)
        # Who waits for the lock: the one that just gave it up stands behind the one that asked.
        self._queue = FolderLock(folder, QUEUE)
        self._socket = folder / SOCKET
        self._shared = shared
        self._call_seconds = call_seconds
        self._changing = asyncio.Lock()
        self._users = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._mine = False
        self._server: asyncio.Server | None = None
        self._requests: set[asyncio.Task[None]] = set()

    @property
    def mine(self) -> bool:
        """Whether this instance may change the node now."""
        return self._mine

    async def begin(self, *, timeout_seconds: float) -> None:
        """Take the node over, and keep it until `settle`; NodeUnusable names who does not give it."""
        await self._changing.acquire()
        await self._take(timeout_seconds)

    def settle(self, *, gain: Change, lose: Change) -> None:
        """Hand over from now on: `lose` before others have the node, `gain` when it is this one's again."""
        self._gain, self._lose = gain, lose
        self._changing.release()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Have the node within this context, together with others of this process; TryAgain when it is not given."""
        async with self._changing:
            if not self._mine:
                await self._take_back()
            self._users += 1
            self._idle.clear()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._idle.set()

    async def end(self, *, leave: Callable[[], None] | None = None) -> None:
        """Let others in, after `leave` where the node is this one's; twice is fine."""
        mine, self._mine = self._mine, False
        await self._stop_listening()
        for request in self._requests:
            request.cancel()
        if mine and leave is not None:
            leave()
        self._lock.release()

    async def _take(self, timeout_seconds: float) -> None:
        await self._queue.acquire(timeout_seconds=timeout_seconds)
        try:
            await self._lock.acquire(timeout_seconds=timeout_seconds, ask=self._ask if self._shared else None)
        finally:
            self._queue.release()
        if self._shared:
            self._server = await asyncio.start_unix_server(self._asked, self._socket)
            self._socket.chmod(0o600)
        self._mine = True

    async def _take_back(self) -> None:
        try:
            await self._take(self._call_seconds)
        except NodeUnusable as error:
            raise TryAgain(f"another instance of the driver keeps this node: {error}") from error
        try:
            await self._gain()
        except BaseException:
            self._mine = False
            await self._stop_listening()
            self._lock.release()
            raise
        logger.info("took the node over from another instance of the driver")

    async def _ask(self) -> None:
        """Tell the holder that the node is wanted; one that does not listen will end, or refuses by its silence."""
        with suppress(OSError):
            _, writer = await asyncio.open_unix_connection(self._socket)
            writer.close()

    async def _asked(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        if not self._requests:
            request = asyncio.create_task(self._hand_over(), name="handover")
            self._requests.add(request)
            request.add_done_callback(self._requests.discard)

    async def _hand_over(self) -> None:
        async with self._changing:
            if not self._mine:
                return
            await self._idle.wait()
            self._mine = False
            await self._lose()
            await self._stop_listening()
            self._lock.release()
        logger.info("handed the node over to another instance of the driver")

    async def _stop_listening(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
            # Before the lock is freed: the next holder puts its own socket there.
            self._socket.unlink(missing_ok=True)
