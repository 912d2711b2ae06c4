"""Watching the control daemons of prepared claims: one that dies is started again, with its limits.

The end of a process is an event (a pidfd), so nothing is polled. A daemon that dies again and again is started less and
less often, once a minute at last; its claim stays prepared, and each death is in the log. While it cannot be started,
its claim is in trouble: the kubelet and administrators are told.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from claimwright.driver.entries import Entry, State
from claimwright.driver.errors import DriverError
from claimwright.driver.mps.place import Place
from claimwright.driver.ports import Clock, Processes
from claimwright.driver.tools import mps_daemon

logger = logging.getLogger(__name__)
_LONGEST_PAUSE_SECONDS: Final = 60.0
_FIRST_PAUSE_SECONDS: Final = 1.0
Repair = Callable[[str], Awaitable[None]]
# Takes the uid of a claim and what its trouble is; an empty text ends it.
Tell = Callable[[str, str], None]


@dataclass
class _Watched:
    """One daemon: who ends it, a descriptor while it lives, a task while it is started again."""

    claim: str
    place: Place
    descriptor: int | None = None
    task: asyncio.Task[None] | None = None
    began: float = float("-inf")
    pause: float = 0.0


class MpsSupervisor:
    """Lives in the driver's event loop; `watch` is told of every change of the claims."""

    def __init__(
        self,
        daemons: Path,
        processes: Processes,
        repair: Repair,
        clock: Clock,
        tell: Tell = lambda _claim, _trouble: None,
    ) -> None:
        self._daemons = daemons
        self._processes = processes
        self._repair = repair
        self._clock = clock
        self._tell = tell
        self._watched: dict[str, _Watched] = {}

    def watch(self, entries: Iterable[Entry]) -> None:
        """Watch the daemons of all prepared claims, and no others."""
        wanted = {
            str(step.arguments["group"]): entry.uid
            for entry in entries
            if entry.state is State.PREPARED
            for step in entry.steps
            if step.tool == mps_daemon.TOOL
        }
        for group in self._watched.keys() - wanted.keys():
            self._drop(self._watched.pop(group))
        for group, claim in wanted.items():
            if group not in self._watched:
                watched = self._watched[group] = _Watched(claim, Place(self._daemons, group))
                self._look(watched)

    def stop(self) -> None:
        """Watch nothing any more; the daemons live on."""
        self.watch(())

    def _look(self, watched: _Watched) -> None:
        """Wait for the end of the daemon, which may lie behind already."""
        known = watched.place.remembered()
        watched.began = self._clock.now() if watched.task is not None else float("-inf")
        watched.descriptor = None if known is None else self._processes.watch(known)
        if watched.descriptor is None:
            self._died(watched)
        else:
            asyncio.get_running_loop().add_reader(watched.descriptor, self._died, watched)

    def _died(self, watched: _Watched) -> None:
        self._close(watched)
        lived = self._clock.now() - watched.began
        again = watched.pause * 2 or _FIRST_PAUSE_SECONDS
        watched.pause = min(again, _LONGEST_PAUSE_SECONDS) if lived < _LONGEST_PAUSE_SECONDS else 0.0
        watched.task = asyncio.get_running_loop().create_task(self._start_again(watched))

    async def _start_again(self, watched: _Watched) -> None:
        while self._watched.get(watched.place.group) is watched:
            if watched.pause:
                await self._clock.sleep(watched.pause)
            try:
                await self._repair(watched.claim)
            except DriverError as error:
                trouble = f"its MPS control daemon {watched.place.group} cannot be started again: {error}"
                logger.error("claim %s: %s", watched.claim, trouble)  # noqa: TRY400  the text says all
                self._tell(watched.claim, trouble)
                again = watched.pause * 2 or _FIRST_PAUSE_SECONDS
                watched.pause = min(again, _LONGEST_PAUSE_SECONDS)
            else:
                self._tell(watched.claim, "")
                break
        if self._watched.get(watched.place.group) is watched:
            self._look(watched)

    def _drop(self, watched: _Watched) -> None:
        self._close(watched)
        if watched.task is not None:
            watched.task.cancel()
            self._tell(watched.claim, "")

    def _close(self, watched: _Watched) -> None:
        if watched.descriptor is not None:
            asyncio.get_running_loop().remove_reader(watched.descriptor)
            os.close(watched.descriptor)
            watched.descriptor = None
