"""Waiting with a deadline: the only way in which scenarios wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


class DeadlineExceeded(AssertionError):
    """What was waited for did not happen in time; the message says what was seen last."""


def wait_until(
    what: str, look: Callable[[], Answer | None], *, seconds: float, seen: Callable[[], object] | None = None
) -> Answer:
    """Return the first answer of `look` that is neither None nor False, polling ten times a second.

    Raise DeadlineExceeded after `seconds`, with `what` was expected and what `seen` tells at the end.
    """
    deadline = time.monotonic() + seconds
    while True:
        answer = look()
        if answer is not None and answer is not False:
            return answer
        if time.monotonic() > deadline:
            last = f"; last seen: {seen()}" if seen else ""
            raise DeadlineExceeded(f"{what} did not happen within {seconds:g} s{last}")
        time.sleep(0.1)
