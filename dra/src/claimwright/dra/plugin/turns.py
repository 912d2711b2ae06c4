"""Who may run when: one call for a claim at a time, and one call of the driver at a time where it asks so.

Lock order: claims (by uid), then the driver's turn.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, TypeAlias

Turn: TypeAlias = AbstractAsyncContextManager[None]
_POLL_SECONDS: Final = 0.005


class KeyedLocks:
    """A lock for each key in use."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: dict[str, int] = {}

    async def hold(self, stack: AsyncExitStack, keys: Iterable[str]) -> None:
        """Lock `keys` until `stack` ends; sorted, so that two calls cannot wait for each other."""
        for key in sorted(set(keys)):
            await stack.enter_async_context(self._locked(key))

    @asynccontextmanager
    async def _locked(self, key: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(key, asyncio.Lock())
        self._users[key] = self._users.get(key, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._locks[key], self._users[key]


class AnyTurn(AbstractAsyncContextManager[None]):
    """No serialization: the driver locks what it must."""

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to give back."""


class OneAtATime(AbstractAsyncContextManager[None]):
    """One call at a time, in this process and, with a lock file, among the instances of a rolling update."""

    def __init__(self, lock_file: Path | None = None) -> None:
        self._lock = asyncio.Lock()
        self._lock_file = lock_file
        self._descriptor: int | None = None

    async def __aenter__(self) -> None:
        await self._lock.acquire()
        try:
            if self._lock_file is not None:
                self._descriptor = await _flock(self._lock_file)
        except BaseException:
            self._lock.release()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._lock.release()


async def _flock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await asyncio.sleep(_POLL_SECONDS)
            else:
                return descriptor
    except BaseException:
        os.close(descriptor)
        raise
