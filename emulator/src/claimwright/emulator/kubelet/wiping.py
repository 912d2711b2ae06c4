"""Removal of ResourceSlices whose driver is not there: at start, and 30 s after its connection is lost.

The kubelet's rules: the first loss starts the timer and keeps its deadline, a connection stops it, slices
without a node name are never touched.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final

from claimwright.dra.kube import KubeError
from claimwright.emulator.kubelet.api import Api
from claimwright.emulator.kubelet.clock import Clock
from claimwright.emulator.kubelet.tasks import TaskOwner
from claimwright.emulator.kubelet.timings import Timings, growing

_LOG: Final = logging.getLogger(__name__)
_ATTEMPTS: Final = 100


class SliceWiper:
    """Owner of a node's wipe timers."""

    def __init__(self, api: Api, node_name: str, clock: Clock, timings: Timings) -> None:
        self._api = api
        self._node_name = node_name
        self._clock = clock
        self._timings = timings
        self._timers: dict[str, asyncio.Task[None]] = {}
        self._tasks = TaskOwner()

    def begin(self) -> None:
        """Wipe all slices of the node, in the background: every driver publishes again once registered."""
        self._tasks.spawn(self._wipe(None), name=f"wipe {self._node_name}")

    def lost(self, driver: str) -> None:
        """Start the driver's timer unless it runs already."""
        if driver not in self._timers:
            work = self._wipe_later(driver)
            self._timers[driver] = self._tasks.spawn(work, name=f"wipe {self._node_name} {driver}")

    def found(self, driver: str) -> None:
        """Stop the driver's timer, or the wiping itself if it goes on."""
        timer = self._timers.pop(driver, None)
        if timer:
            timer.cancel()

    async def close(self) -> None:
        """Stop all timers."""
        await self._tasks.close()

    async def _wipe_later(self, driver: str) -> None:
        await self._clock.sleep(self._timings.wipe_after)
        await self._wipe(driver)

    async def _wipe(self, driver: str | None) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                await self._api.wipe_slices(self._node_name, driver)
            except KubeError as error:
                _LOG.warning("wiping slices of %s on %s: %s", driver or "all drivers", self._node_name, error)
            else:
                return
            delay = growing(self._timings.wipe_retry_start, self._timings.wipe_retry_cap, attempt)
            await self._clock.sleep(delay * random.uniform(1.0, 1.2))  # noqa: S311  # jitter
