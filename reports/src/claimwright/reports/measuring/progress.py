"""What is going on and for how long: lines on standard error, never among the results."""

from __future__ import annotations

import time
from collections.abc import Callable


class Progress:
    """Says lines with the time since the start; ticks within a step come every two seconds at most."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._began = time.monotonic()
        self._said = 0.0

    def say(self, text: str) -> None:
        """Say a step."""
        self._said = time.monotonic()
        self._write(f"[{self._said - self._began:6.1f} s] {text}")

    def tick(self, text: str) -> None:
        """Say how far a step has come, if nothing was said lately."""
        if time.monotonic() - self._said >= 2:
            self.say(text)
