"""What has happened on the emulated nodes, for people and for tests: the latest thousands, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from claimwright.emulator.kubelet.clock import Clock


@dataclass(frozen=True)
class Happening:
    """One thing that happened. `subject` is a pod (namespace/name), a driver or a node."""

    when: datetime
    node: str
    kind: str
    subject: str
    detail: str = ""


class Journal:
    """A bounded log of happenings."""

    def __init__(self, clock: Clock, *, size: int = 10_000) -> None:
        self._clock = clock
        self._entries: deque[Happening] = deque(maxlen=size)

    def note(self, node: str, kind: str, subject: str, detail: str = "") -> None:
        """Add a happening, stamped with the clock's time."""
        self._entries.append(Happening(self._clock.now(), node, kind, subject, detail))

    def __iter__(self) -> Iterator[Happening]:
        return iter(tuple(self._entries))

    def kinds(self, subject: str) -> tuple[str, ...]:
        """Return what happened to one subject, in order."""
        return tuple(entry.kind for entry in self if entry.subject == subject)
