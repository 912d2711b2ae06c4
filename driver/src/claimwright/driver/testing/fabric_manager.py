"""A fabric manager in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from claimwright.driver.errors import StepFailed
from claimwright.driver.ports import FabricPartition


class MemoryFabricManager:
    """The port `FabricManager`: `away` makes every call fail as one that nobody answers."""

    def __init__(self, partitions: Iterable[FabricPartition] = ()) -> None:
        self.known = {each.number: each for each in partitions}
        self.away = False

    def partitions(self) -> tuple[FabricPartition, ...]:
        """Return them by number."""
        self._answer()
        return tuple(self.known[number] for number in sorted(self.known))

    def activate(self, number: int) -> None:
        """Join, unless a partition that shares a GPU is active."""
        self._answer()
        wanted = self.known[number]
        for other in self.known.values():
            if other.active and set(other.modules) & set(wanted.modules):
                raise StepFailed(f"the fabric manager could not activate partition {number}: in use")
        self.known[number] = replace(wanted, active=True)

    def deactivate(self, number: int) -> None:
        """Part."""
        self._answer()
        if not self.known[number].active:
            raise StepFailed(f"the fabric manager could not deactivate partition {number}: not in use")
        self.known[number] = replace(self.known[number], active=False)

    def _answer(self) -> None:
        if self.away:
            raise StepFailed("the fabric manager could not be reached: nobody listens")
