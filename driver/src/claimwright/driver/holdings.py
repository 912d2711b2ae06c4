"""What the claims of this node hold now, for those who are made before the machine that knows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from claimwright.driver.entries import Entry
from claimwright.driver.steps import Step


class Holdings:
    """Nothing until `entries` is set to what tells the claims."""

    def __init__(self, entries: Callable[[], Iterable[Entry]] = tuple) -> None:
        self.entries = entries
        self._followers: list[Callable[[Iterable[Entry]], None]] = []

    def follow(self, follower: Callable[[Iterable[Entry]], None]) -> None:
        """Call back with the claims whenever one was prepared or released."""
        self._followers.append(follower)

    def changed(self, entries: Iterable[Entry]) -> None:
        """Take the claims after a change."""
        for follower in self._followers:
            follower(entries)

    def steps(self, tool: str) -> Iterator[tuple[str, Step]]:
        """Yield claim uid and step of every step of one tool."""
        for entry in tuple(self.entries()):
            yield from ((entry.uid, step) for step in entry.steps if step.tool == tool)
