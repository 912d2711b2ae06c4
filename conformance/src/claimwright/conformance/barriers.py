"""Waiting with deadlines: the only place of the room where time passes.

A wait ends when its predicate holds or raises with what was awaited; nothing sleeps for a fixed time and hopes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from claimwright.conformance.errors import Violation

T = TypeVar("T")
_PAUSE_SECONDS: Final = 0.02


def wait_until(predicate: Callable[[], T | None], seconds: float, awaited: str) -> T:
    """Return the first truthy value of `predicate`; after `seconds` the driver has broken its budget."""
    deadline = time.monotonic() + seconds
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise Violation(expected=f"{awaited} within {seconds:g} s", seen="nothing of it by then")
        time.sleep(_PAUSE_SECONDS)


def watch_for(predicate: Callable[[], T | None], seconds: float) -> T | None:
    """Return the first truthy value of `predicate` within a window, or None when it stays falsy throughout.

    For things that must not happen; the caller adds a barrier, so that silence is not slowness.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = predicate()
        if value:
            return value
        time.sleep(_PAUSE_SECONDS)
    return None
