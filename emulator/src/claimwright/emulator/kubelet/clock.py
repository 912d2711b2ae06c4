"""Time as a door: the real clock, and the shape that tests replace to jump over 30-second timers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time for objects, monotonic time for deadlines, and a sleep that follows both."""

    def now(self) -> datetime:
        """Return the wall time, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        ...


class RealClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the wall time, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`; a negative value returns at once."""
        await asyncio.sleep(max(0.0, seconds))


def timestamp(moment: datetime) -> str:
    """Write a moment as Kubernetes' `Time` does: RFC 3339, whole seconds, UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp(moment: datetime) -> str:
    """Write a moment as Kubernetes' `MicroTime` does (lease times)."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_timestamp(text: str) -> datetime:
    """Read a Kubernetes `Time` or `MicroTime`."""
    return datetime.fromisoformat(text)


async def wait_for_either(clock: Clock, event: asyncio.Event, seconds: float | None) -> bool:
    """Wait for the event, at most `seconds` (None: without end); tell whether the event was set."""
    if seconds is None:
        await event.wait()
        return True
    waiters: list[asyncio.Task[object]] = [_task(event.wait()), _task(clock.sleep(seconds))]
    try:
        await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in waiters:
            waiter.cancel()
        await asyncio.gather(*waiters, return_exceptions=True)
    return event.is_set()


def _task(awaitable: Awaitable[object]) -> asyncio.Task[object]:
    return asyncio.ensure_future(_wrap(awaitable))


async def _wrap(awaitable: Awaitable[object]) -> object:
    return await awaitable
