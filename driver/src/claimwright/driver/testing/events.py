"""Events of GPUs in memory."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from claimwright.driver.errors import NvmlUnusable, WatchEnded
from claimwright.driver.ports import GpuEvent, Watch


class MemoryEvents:
    """Hands out what is put in, to whoever watches then; `broken` lets no watch begin."""

    def __init__(self) -> None:
        self.deaf: dict[str, str] = {}
        self.broken: NvmlUnusable | None = None
        self.watches = 0
        self._coming: queue.Queue[GpuEvent | WatchEnded] = queue.Queue()

    def put(self, event: GpuEvent | WatchEnded) -> None:
        """Let this happen; WatchEnded ends the watch."""
        self._coming.put(event)

    @contextmanager
    def watch(self) -> Iterator[Watch]:
        """Begin."""
        if self.broken is not None:
            raise self.broken
        self.watches += 1
        yield _MemoryWatch(self.deaf, self._coming)


class _MemoryWatch:
    def __init__(self, deaf: Mapping[str, str], coming: queue.Queue[GpuEvent | WatchEnded]) -> None:
        self.unmonitored: Mapping[str, str] = dict(deaf)
        self._coming = coming

    def wait(self, timeout_seconds: float) -> GpuEvent | None:
        try:
            found = self._coming.get(timeout=timeout_seconds)
        except queue.Empty:
            return None
        if isinstance(found, WatchEnded):
            raise found
        return found
