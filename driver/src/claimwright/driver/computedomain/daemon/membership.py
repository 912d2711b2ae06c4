"""Keeping this node's row: which place it has, and whether it is ready.

The API server puts all writes of a clique in one order, and the answer to a write holds all rows as they were then.
So of two daemons that wrote the same place at the same moment exactly the later one sees the other's row in its own
answer, and moves; the earlier one never does, as nothing in its answer speaks against it.
"""

from __future__ import annotations

from claimwright.driver.computedomain.daemon.roster import Roster
from claimwright.driver.computedomain.daemon.rows import CliqueFull, Members, choose_index
from claimwright.driver.computedomain.daemon.settings import DaemonSettings


class Membership:
    """Belongs to one task; `index` is the place that is this node's own, None while none is."""

    def __init__(self, roster: Roster, settings: DaemonSettings) -> None:
        self._roster = roster
        self._settings = settings
        self._liked: int | None = None
        self.index: int | None = None

    async def settle(self, *, ready: bool) -> None:
        """Bring the row up to date; what is so is not written. Raises KubeError and CliqueFull."""
        members = self._roster.members()
        found = members.get(self._settings.node)
        if self.index is None or found is None:
            await self._claim(members, ready=ready)
        elif found != (row := self._settings.member(self.index, ready=ready)):
            await self._roster.write(row)

    async def _claim(self, members: Members, *, ready: bool) -> None:
        """Take a place: the former one if nobody has it meanwhile, since another one restarts nvidia-imex."""
        if self._liked is None and (former := members.get(self._settings.node)):
            self._liked = former.index
        self.index = None
        while True:
            index = self._liked = await self._choose(members)
            members = await self._roster.write(self._settings.member(index, ready=ready))
            if not self._is_contested(members, index):
                break
        self.index = index

    async def _choose(self, members: Members) -> int:
        try:
            return choose_index(members, self._settings.node, self._liked, limit=self._settings.max_nodes)
        except CliqueFull:
            await self._roster.remove()  # a place that is another's must not stay written
            raise

    def _is_contested(self, members: Members, index: int) -> bool:
        return any(each.index == index and each.node != self._settings.node for each in members.values())
