"""Which domains have to be looked at: each once, by one worker at a time; failed ones come back later and later."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Final

_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 30.0


class WorkQueue:
    """Keys with the time when they are due. Thread-safe; what is added while it is worked on comes once more."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._changed = threading.Condition()
        self._waiting: dict[str, None] = {}  # in the order in which they came
        self._later: dict[str, float] = {}
        self._busy: set[str] = set()
        self._failures: dict[str, int] = {}
        self._closed = False

    def add(self, key: str) -> None:
        """Have `key` looked at as soon as a worker is free."""
        with self._changed:
            self._later.pop(key, None)
            self._waiting[key] = None
            self._changed.notify()

    def take(self) -> str | None:
        """Wait for a key, and keep it from others until `done`; None when the queue is closed."""
        with self._changed:
            while not self._closed:
                self._advance()
                key = next((key for key in self._waiting if key not in self._busy), None)
                if key is not None:
                    del self._waiting[key]
                    self._busy.add(key)
                    return key
                self._changed.wait(self._next_pause())
        return None

    def done(self, key: str, *, failed: bool = False) -> None:
        """Give a key back; a failed one is due again after a pause that doubles each time."""
        with self._changed:
            self._busy.discard(key)
            if failed:
                times = self._failures[key] = self._failures.get(key, 0) + 1
                if key not in self._waiting:
                    self._later[key] = self._now() + _pause(times)
            else:
                self._failures.pop(key, None)
            self._changed.notify()

    def close(self) -> None:
        """Send the workers home; what is not done is forgotten."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _advance(self) -> None:
        for key in [key for key, due in self._later.items() if due <= self._now()]:
            del self._later[key]
            self._waiting[key] = None

    def _next_pause(self) -> float | None:
        return min(self._later.values()) - self._now() if self._later else None


def _pause(times: int) -> float:
    longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** min(times - 1, 16))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  no secret
