"""Whose partitions and vGPUs are whose, while the hardware is read and claims come and go."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from claimwright.driver.entries import Entry
from claimwright.driver.inventory import IsOwn, IsOwnVgpu
from claimwright.driver.ports import Partition
from claimwright.driver.tools import mdev, mig_partition, vgpu_type
from claimwright.driver.tools.mig_partition import made_by

# A partition by GPU, profile and place; a vGPU by the uuid or virtual function that carries it.
_Made = tuple[str, int, int] | str
_CARRIERS: Final = {mdev.TOOL: "uuid", vgpu_type.TOOL: "function"}


@dataclass(frozen=True)
class Own:
    """Tells what is the driver's own; `moved` gives the PCI addresses of the GPUs that claims changed so far."""

    partition: IsOwn
    vgpu: IsOwnVgpu
    moved: Callable[[], frozenset[str]]


class _Window:
    """What was so at any moment of one reading."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._before = {entry.uid: entry for entry in entries}
        self.made: set[_Made] = set()
        self.moved: set[str] = set()
        self.see(self._before.values())

    def see(self, entries: Iterable[Entry]) -> None:
        now = {entry.uid: entry for entry in entries}
        self.made.update(_made(now.values()))
        for uid in now.keys() | self._before.keys():
            one, other = self._before.get(uid), now.get(uid)
            found = [entry for entry in (one, other) if entry is not None]
            if len({entry.state for entry in found}) == 2 or len(found) == 1:
                self.moved.update(*(entry.hardware() for entry in found))


class Ownership:
    """Knows the driver's own partitions and vGPUs by the steps of the claims that it holds.

    `busy` gives the PCI addresses of the GPUs that claims are being prepared on or released from now.

    A reading takes a while: a partition that a claim made or left in that time must not pass for somebody else's.
    So within a `window` every one counts as own that was so at any moment of it. A GPU that a claim moves in that time
    may be anything: on its way to another driver, in or out of MIG mode.
    """

    def __init__(
        self, entries: Callable[[], Iterable[Entry]], busy: Callable[[], Collection[str]] = tuple
    ) -> None:
        self._entries = entries
        self._busy = busy
        self._windows: list[_Window] = []

    def changed(self, entries: Iterable[Entry]) -> None:
        """Take the claims after a change."""
        if self._windows:
            now = tuple(entries)
            for window in tuple(self._windows):
                window.see(now)

    def hardware(self) -> frozenset[str]:
        """Return the PCI addresses of the GPUs that claims hold now."""
        return frozenset(held.hardware for entry in self._entries() for held in entry.devices)

    @contextmanager
    def window(self) -> Iterator[Own]:
        """Tell own partitions and vGPUs while the hardware is read."""
        window = _Window(self._entries())
        window.moved.update(self._busy())
        self._windows.append(window)

        def was_own(key: _Made) -> bool:
            return key in window.made or key in _made(self._entries())

        def moved() -> frozenset[str]:
            window.see(self._entries())
            window.moved.update(self._busy())
            return frozenset(window.moved)

        try:
            yield Own(lambda gpu, partition: was_own(_key(gpu, partition)), was_own, moved)
        finally:
            self._windows.remove(window)


def is_own(entries: Iterable[Entry]) -> IsOwn:
    """Tell own partitions by the steps of the claims that are held now."""
    made = _made(entries)
    return lambda gpu, partition: _key(gpu, partition) in made


def is_own_vgpu(entries: Iterable[Entry]) -> IsOwnVgpu:
    """Tell own vGPUs likewise."""
    made = _made(entries)
    return lambda carrier: carrier in made


def _key(gpu: str, partition: Partition) -> _Made:
    return gpu, partition.profile_id, partition.placement.start


def _made(entries: Iterable[Entry]) -> set[_Made]:
    steps = [step for entry in entries for step in entry.steps]
    partitions = {made_by(step) for step in steps if step.tool == mig_partition.TOOL}
    return partitions | {
        str(step.arguments[_CARRIERS[step.tool]]) for step in steps if step.tool in _CARRIERS
    }
