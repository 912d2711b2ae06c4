"""Keeping nvidia-imex: started, started again after its end, and told when its peers have moved.

It reads at its start which of the nodes it is itself, so another place needs another process. Where its peers are it
looks up again on SIGUSR1, which it obeys once in five seconds (IMEX guide, "Signal handling"): a sooner one is lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from claimwright.driver.computedomain.daemon.configuration import write_configuration
from claimwright.driver.computedomain.daemon.hosts import every_place, write_mappings
from claimwright.driver.computedomain.daemon.program import PROGRAM, Imex
from claimwright.driver.computedomain.daemon.settings import DaemonSettings
from claimwright.driver.errors import StepFailed
from claimwright.driver.ports import Clock

logger = logging.getLogger(__name__)
_BETWEEN_SIGNALS_SECONDS: Final = 5.5
# Before it has a handler for the signal, the signal ends it.
_FIRST_SIGNAL_SECONDS: Final = 2.0
_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 10.0
_LONG_LIFE_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Places:
    """The own place, and the address of each place that somebody has."""

    own: int
    addresses: Mapping[int, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"place {self.own} of {len(self.addresses)} ({', '.join(self.addresses.values())})"


class ImexKeeper:
    """Lives in the event loop: `want` says what is wanted, `run` makes it so until it is cancelled."""

    def __init__(self, imex: Imex, settings: DaemonSettings, clock: Clock) -> None:
        self._imex = imex
        self._settings = settings
        self._clock = clock
        self._changed = asyncio.Event()
        self._wanted: Places | None = None
        self._told: Places | None = None  # None while none runs
        self._watcher: asyncio.Task[None] | None = None
        self._quiet: asyncio.Task[None] | None = None
        self._pause: asyncio.Task[None] | None = None
        self._long_life: asyncio.Task[None] | None = None
        self._rests: set[asyncio.Task[None]] = set()
        self._pause_seconds = 0.0

    def want(self, places: Places) -> None:
        """Say who is where now."""
        if places != self._wanted:
            self._wanted = places
            self._changed.set()

    async def run(self) -> None:
        """Keep it as wanted; faults are logged and tried again."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._wanted is not None:
                await self._follow(self._wanted)

    async def stop(self) -> None:
        """End it for good; `run` must have ended."""
        for rest in self._rests:
            rest.cancel()
        await self._end()

    async def _follow(self, wanted: Places) -> None:
        try:
            self._name(wanted)
        except OSError as error:
            logger.error("%s cannot be written: %s", self._settings.hosts, error)  # noqa: TRY400
            self._pause = self._rest(_FIRST_PAUSE_SECONDS)
            return
        if self._told is not None and self._is_read_at_start(self._told, wanted):
            logger.info("%s instead of %s: %s starts anew", wanted, self._told, PROGRAM)
            await self._end()
        if self._told is None:
            if _is_over(self._pause):
                await self._start(wanted)
        elif self._told != wanted and _is_over(self._quiet):
            self._imex.resolve_again()
            self._told = wanted
            self._quiet = self._rest(_BETWEEN_SIGNALS_SECONDS)

    def _name(self, wanted: Places) -> None:
        if self._settings.by_names:
            write_mappings(self._settings.hosts, every_place(wanted.addresses, self._settings.max_nodes))

    def _is_read_at_start(self, told: Places, wanted: Places) -> bool:
        return told.own != wanted.own or (not self._settings.by_names and told != wanted)

    async def _start(self, wanted: Places) -> None:
        try:
            write_configuration(self._settings, wanted.addresses)
            await self._imex.start()
        except (OSError, StepFailed) as error:
            logger.error("%s", error)  # noqa: TRY400  the text says all
            self._be_slower()
            return
        self._told = wanted
        self._quiet = self._rest(_FIRST_SIGNAL_SECONDS)
        self._long_life = self._rest(_LONG_LIFE_SECONDS)
        self._watcher = asyncio.create_task(self._watch(), name="nvidia-imex")

    async def _watch(self) -> None:
        status = await self._imex.ended()
        self._told = None
        if self._long_life is not None and self._long_life.done():
            self._pause_seconds = 0.0
        self._be_slower()
        logger.error("%s ended with status %d, starts again in %g s", PROGRAM, status, self._pause_seconds)

    async def _end(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            # Not `await` it: its being cancelled and our own would look the same.
            await asyncio.wait([self._watcher])
        await self._imex.stop()
        self._told = None

    def _be_slower(self) -> None:
        self._pause_seconds = min(self._pause_seconds * 2 or _FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
        self._pause = self._rest(self._pause_seconds)

    def _rest(self, seconds: float) -> asyncio.Task[None]:
        """Begin a time at whose end everything is looked at again."""
        rest = asyncio.create_task(self._clock.sleep(seconds))
        self._rests.add(rest)
        rest.add_done_callback(self._look_again)
        return rest

    def _look_again(self, rest: asyncio.Task[None]) -> None:
        self._rests.discard(rest)
        self._changed.set()


def _is_over(rest: asyncio.Task[None] | None) -> bool:
    return rest is None or rest.done()
