"""Waiting in tests: for a fact, with a deadline, never for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


async def wait_until(fact: Callable[[], Value], *, timeout_seconds: float = 30.0) -> Value:
    """Return the first true answer of `fact`; TimeoutError when there is none in time."""
    async with asyncio.timeout(timeout_seconds):
        while not (answer := fact()):  # noqa: ASYNC110  the facts are files and other processes
            await asyncio.sleep(0.01)
        return answer
