"""The ledger of what a check made: freed in reverse order, also after a failure.

Freeing goes on when one entry cannot be freed; what stayed behind is reported together at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing to free: what it is in words, and how."""

    what: str
    free: Callable[[], object]


@dataclass(slots=True)
class Ledger:
    """Remembers what was made and frees it, the youngest first."""

    entries: list[Entry] = field(default_factory=list)

    def owe(self, what: str, free: Callable[[], object]) -> Entry:
        """Enter a thing that must be freed; returns the entry, by which it can be struck out."""
        entry = Entry(what, free)
        self.entries.append(entry)
        return entry

    def strike(self, entry: Entry) -> None:
        """Forget a thing that the check freed itself; twice is harmless."""
        if entry in self.entries:
            self.entries.remove(entry)

    def settle(self) -> list[str]:
        """Free everything and return one sentence for each thing that could not be freed."""
        left: list[str] = []
        while self.entries:
            entry = self.entries.pop()
            try:
                entry.free()
            except Exception as error:  # noqa: BLE001 - the rest must be freed whatever this one raises
                left.append(f"{entry.what}: {error}")
        return left
