"""Pauses that an event cuts short."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from claimwright.driver.ports import Clock


async def sleep_unless(event: asyncio.Event, clock: Clock, seconds: float) -> None:
    """Sleep so long, or until the event is set."""
    waits = [asyncio.ensure_future(clock.sleep(seconds)), asyncio.ensure_future(event.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()
            with suppress(asyncio.CancelledError):
                await each
