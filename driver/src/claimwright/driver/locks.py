"""Locks by name: one per claim and one per physical device, never one per node.

Order: names are taken sorted, so two claims that need the same devices cannot wait for each other. Claim
names sort before device names (`claim:` < `device:`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager

from claimwright.driver.errors import LockTimeout


class NamedLocks:
    """Mutual exclusion within one event loop; a name exists only while somebody holds or wants it."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._wanted: dict[str, int] = {}

    @asynccontextmanager
    async def hold(self, names: Iterable[str], *, timeout_seconds: float) -> AsyncIterator[None]:
        """Hold all `names`; LockTimeout says which one did not come free in time."""
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        held: list[str] = []
        try:
            for name in sorted(set(names)):
                await self._take(name, deadline, timeout_seconds)
                held.append(name)
            yield
        finally:
            for name in reversed(held):
                self._locks[name].release()
                self._leave(name)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names that are held or wanted now."""
        return iter(tuple(self._locks))

    def __len__(self) -> int:
        """Return how many names are held or wanted."""
        return len(self._locks)

    async def _take(self, name: str, deadline: float, timeout_seconds: float) -> None:
        lock = self._locks.setdefault(name, asyncio.Lock())
        self._wanted[name] = self._wanted.get(name, 0) + 1
        try:
            if self._wanted[name] == 1:
                await lock.acquire()  # nobody else wants it: done at once, without a timer
            else:
                await self._acquire(lock, name, deadline, timeout_seconds)
        except BaseException:
            self._leave(name)
            raise

    def _leave(self, name: str) -> None:
        self._wanted[name] -= 1
        if not self._wanted[name]:
            del self._wanted[name], self._locks[name]

    async def _acquire(self, lock: asyncio.Lock, name: str, deadline: float, timeout_seconds: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await lock.acquire()
        except TimeoutError as error:
            raise LockTimeout(f"{name} stayed locked by another claim for {timeout_seconds:g} s") from error
