"""Failures that a test orders from the fake API."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass
class Fault:
    """Answers the next `times` requests that match with `status`; status 0 cuts the connection.

    `method` "*" is any; `path` is a regular expression, looked for in the path with its query. With `times`
    None it stays until somebody takes it out of `FakeApi.faults`.
    """

    method: str
    path: str
    status: int
    times: int | None = 1
    reason: str = "InternalError"
    retry_after: str | None = None

    def hits(self, method: str, path: str) -> bool:
        """Say whether it is meant, and count it down."""
        if self.times == 0 or self.method not in ("*", method) or not re.search(self.path, path):
            return False
        if self.times is not None:
            self.times -= 1
        return True
