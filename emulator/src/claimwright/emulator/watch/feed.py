"""The feed of a node: its state after changes, its events, and what its scripts do, for whoever follows."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from claimwright.emulator.description import describe
from claimwright.emulator.model import NodeModel, NodeState
from claimwright.emulator.model.change import EventKind, GpuEvent
from claimwright.emulator.model.faults import meaning

_MOST_WAITING = 1000
_RECENT = 50
_LEAST_SECONDS = 0.1  # between two states: a follower wants to see, not to count, changes


class Follower:
    """What one follower has not read yet; a slow one loses the oldest events and learns how many."""

    def __init__(self) -> None:
        self.waiting: deque[Mapping[str, Any]] = deque()
        self.changed = True
        self.lost = 0
        self.awake = asyncio.Event()

    def add(self, item: Mapping[str, Any]) -> None:
        """Queue an event or a script's step."""
        if len(self.waiting) >= _MOST_WAITING:
            self.waiting.popleft()
            self.lost += 1
        self.waiting.append(item)
        self.awake.set()


class Feed:
    """Tells followers; `attached` joins it to a model. Its methods run on the event loop's thread."""

    def __init__(self) -> None:
        self._followers: set[Follower] = set()
        self._recent: deque[Mapping[str, Any]] = deque(maxlen=_RECENT)
        self._model: NodeModel | None = None

    @contextmanager
    def attached(self, model: NodeModel) -> Iterator[None]:
        """Hear of every change and event of a model, from whichever thread it comes."""
        loop = asyncio.get_running_loop()
        self._model = model

        def changed(_state: NodeState) -> None:
            if self._followers:  # one that comes later begins with the state of its time
                loop.call_soon_threadsafe(self._changed)

        def happened(event: GpuEvent) -> None:
            loop.call_soon_threadsafe(self.tell, event_record(event))

        leave = (model.subscribe(changed), model.listen(happened))
        try:
            yield
        finally:
            for each in leave:
                each()

    def tell(self, item: Mapping[str, Any]) -> None:
        """Give one event, or step of a script, to every follower."""
        self._recent.append(item)
        for follower in self._followers:
            follower.add(item)

    async def stream(self, *, states: bool = True, recent: int = 0) -> AsyncGenerator[Any, None]:
        """Yield `{"state": …}` now and after changes (if `states`), `{"event": …}` and `{"script": …}` as they come."""
        follower = Follower()
        follower.waiting.extend(list(self._recent)[len(self._recent) - recent :] if recent else ())
        follower.awake.set()
        self._followers.add(follower)
        try:
            while True:
                await follower.awake.wait()
                follower.awake.clear()
                if follower.lost:
                    yield {"lost": follower.lost}
                    follower.lost = 0
                while follower.waiting:
                    yield follower.waiting.popleft()
                if states and follower.changed and self._model is not None:
                    follower.changed = False
                    yield {"state": describe(self._model.snapshot())}
                    await asyncio.sleep(_LEAST_SECONDS)
        finally:
            self._followers.discard(follower)

    def _changed(self) -> None:
        for follower in self._followers:
            follower.changed = True
            follower.awake.set()


def event_record(event: GpuEvent) -> Mapping[str, Any]:
    """Return an event as JSON: when (seconds since the epoch), what, on which GPU, with its text for an XID."""
    record: dict[str, Any] = {
        "time": time.time(),
        "gpu": event.gpu,
        "kind": (event.kind.name or str(int(event.kind))).lower(),
        "data": event.data,
    }
    if event.gpu_instance is not None:
        record |= {"gpu_instance": event.gpu_instance, "compute_instance": event.compute_instance}
    if event.kind is EventKind.XID:
        record["text"] = meaning(event.data).text
    return {"event": record}
