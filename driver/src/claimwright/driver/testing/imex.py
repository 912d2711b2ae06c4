"""An nvidia-imex that does nothing but remember what was done to it."""

from __future__ import annotations

import asyncio

from claimwright.driver.errors import StepFailed


class ScriptedImex:
    """`history` holds `start`, `SIGUSR1`, `stop` and `end` in order; with `missing` it cannot be started."""

    def __init__(self) -> None:
        self.history: list[str] = []
        self.missing = False
        self._end: asyncio.Future[int] | None = None

    @property
    def runs(self) -> bool:
        """Whether it is started and has not ended."""
        return self._end is not None and not self._end.done()

    async def start(self) -> None:
        """Start it; StepFailed when it cannot be started."""
        if self.missing:
            raise StepFailed("nvidia-imex could not be started: it is missing")
        assert not self.runs, "two at once"
        self.history.append("start")
        self._end = asyncio.get_running_loop().create_future()

    async def ended(self) -> int:
        """Wait for the end of the one that was started, and return its status."""
        assert self._end is not None
        return await asyncio.shield(self._end)

    def resolve_again(self) -> None:
        """Note the signal."""
        self.history.append("SIGUSR1")

    async def stop(self) -> None:
        """End it if it runs."""
        if self._end is not None and not self._end.done():
            self.history.append("stop")
            self._end.set_result(0)

    def end(self, status: int) -> None:
        """End by itself, as in a crash."""
        assert self._end is not None
        self.history.append("end")
        self._end.set_result(status)
