"""Whose partitions are whose, while the hardware is read and claims come and go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from claimwright.driver.entries import Entry
from claimwright.driver.inventory import IsOwn
from claimwright.driver.ports import Partition
from claimwright.driver.tools import mig_partition
from claimwright.driver.tools.mig_partition import made_by

_Made = tuple[str, int, int]


class Ownership:
    """Knows the driver's own partitions by the steps of the claims that it holds.

    A reading takes a while: a partition that a claim made or left in that time must not pass for somebody else's.
    So within a `window` every partition counts as own that was so at any moment of it.
    """

    def __init__(self, entries: Callable[[], Iterable[Entry]]) -> None:
        self._entries = entries
        self._windows: list[set[_Made]] = []

    def changed(self, entries: Iterable[Entry]) -> None:
        """Take the claims after a change."""
        if self._windows:
            made = _made(entries)
            for window in tuple(self._windows):
                window.update(made)

    def hardware(self) -> frozenset[str]:
        """Return the PCI addresses of the GPUs that claims hold now."""
        return frozenset(held.hardware for entry in self._entries() for held in entry.devices)

    @contextmanager
    def window(self) -> Iterator[IsOwn]:
        """Tell own partitions while the hardware is read."""
        seen = _made(self._entries())
        self._windows.append(seen)

        def was_own(gpu: str, partition: Partition) -> bool:
            key = (gpu, partition.profile_id, partition.placement.start)
            return key in seen or key in _made(self._entries())

        try:
            yield was_own
        finally:
            self._windows.remove(seen)


def is_own(entries: Iterable[Entry]) -> IsOwn:
    """Tell own partitions by the steps of the claims that are held now."""
    made = _made(entries)
    return lambda gpu, partition: (gpu, partition.profile_id, partition.placement.start) in made


def _made(entries: Iterable[Entry]) -> set[_Made]:
    return {made_by(step) for entry in entries for step in entry.steps if step.tool == mig_partition.TOOL}
