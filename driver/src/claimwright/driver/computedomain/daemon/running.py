"""The daemon as a whole: what it is made of, and the order in which its parts start and stop."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final

from claimwright.dra.kube import Kube, KubeError
from claimwright.driver import signals
from claimwright.driver.adapters import WallClock
from claimwright.driver.computedomain.daemon.keeping import ImexKeeper, Places
from claimwright.driver.computedomain.daemon.membership import Membership
from claimwright.driver.computedomain.daemon.own_pod import OwnPod
from claimwright.driver.computedomain.daemon.program import Imex, ImexProgram
from claimwright.driver.computedomain.daemon.roster import ApiRoster
from claimwright.driver.computedomain.daemon.rows import CliqueFull, addresses
from claimwright.driver.computedomain.daemon.settings import DaemonSettings
from claimwright.driver.ports import Clock

logger = logging.getLogger(__name__)
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 6.0
_LEAVE_SECONDS: Final = 10.0


async def run(settings: DaemonSettings, kube: Kube) -> None:
    """Run until a signal; NodeUnusable when it cannot."""
    loop = asyncio.get_running_loop()
    stop = signals.stop_on_signals(loop)
    signals.dump_on_signal(loop)
    settings.check()
    logger.info("configuration %s", settings.describe())
    await Daemon(settings, kube, ImexProgram(settings.configuration), WallClock()).run(stop)


class Daemon:
    """One life of the daemon on one node."""

    def __init__(self, settings: DaemonSettings, kube: Kube, imex: Imex, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._changed = asyncio.Event()
        loop = asyncio.get_running_loop()

        def tell() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._changed.set)

        self._pod = OwnPod(kube, settings, tell)
        self._roster = ApiRoster(kube, settings, tell)
        self._membership = Membership(self._roster, settings)
        self._keeper = ImexKeeper(imex, settings, clock)

    async def run(self, stop: asyncio.Event) -> None:
        """Register this node and keep nvidia-imex until `stop`; then take both back."""
        self._pod.start()
        if self._settings.clique:
            self._roster.start()
        else:
            logger.info("this node is in no NVLink clique: there is nothing to do for nvidia-imex")
        parts = [
            asyncio.create_task(self._register(), name="register"),
            asyncio.create_task(self._keeper.run()),
        ]
        stopped = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([*parts, stopped], return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                part.result()  # a part never ends by itself: what ended it is to end the process
        finally:
            for part in (*parts, stopped):
                part.cancel()
            await asyncio.wait([*parts, stopped])
            await self._end()

    async def _register(self) -> None:
        pause = 0.0
        while True:
            self._changed.clear()
            try:
                await self._pass()
            except (KubeError, CliqueFull) as error:
                pause = min(pause * 2 or _FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
                logger.warning("this node cannot be registered now, will retry: %s", error)
                await self._clock.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  not a secret
            else:
                pause = 0.0
                logger.debug("Wait for updated ComputeDomainDaemonInfo list")
                await self._changed.wait()

    async def _pass(self) -> None:
        """Bring pod, row and nvidia-imex up to date with what is known now."""
        if not self._pod.stays:
            return
        await self._pod.label()
        if not self._settings.clique or not self._roster.synced:
            return
        try:
            await self._membership.settle(ready=self._pod.ready)
        finally:
            self._tell_keeper()

    def _tell_keeper(self) -> None:
        index = self._membership.index
        if index is not None:
            own = self._settings.member(index, ready=False)
            known = addresses(self._roster.members(), own, limit=self._settings.max_nodes)
            if self._settings.by_names or len(known) >= self._roster.least:
                self._keeper.want(Places(index, known))

    async def _end(self) -> None:
        logger.info("stopping")
        await asyncio.gather(self._leave(), self._keeper.stop())
        await asyncio.gather(*(asyncio.to_thread(part.stop) for part in (self._pod, self._roster)))
        logger.info("stopped")

    async def _leave(self) -> None:
        settings = self._settings
        try:
            async with asyncio.timeout(_LEAVE_SECONDS):
                while not await self._left():  # noqa: ASYNC110  the API server calls nobody back
                    await asyncio.sleep(_FIRST_PAUSE_SECONDS)
        except TimeoutError:
            logger.error(  # noqa: TRY400  the text says all
                "the row of this node in %s could not be removed within %g s; the controller removes it later",
                settings.clique_name,
                _LEAVE_SECONDS,
            )

    async def _left(self) -> bool:
        settings = self._settings
        try:
            removed = await self._roster.remove()
        except KubeError as error:
            logger.warning("this node cannot be taken out of its clique now, will retry: %s", error)
            return False
        if removed:
            logger.info(
                "Successfully removed daemon with IP %s from ComputeDomain %s",
                settings.pod_ip,
                settings.domain,
            )
        return True
