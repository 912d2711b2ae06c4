"""An asyncio loop in a thread of its own, for synchronous callers of asynchronous rooms."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

Answer = TypeVar("Answer")


class LoopThread:
    """A context manager: `run` hands a coroutine to the loop and waits for its answer, with a deadline."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="asyncio loop", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, Answer], *, seconds: float = 60.0) -> Answer:
        """Return the coroutine's answer or raise its error; TimeoutError after the deadline."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)
