"""Run nvidia-imex as a service manager does: started, stopped and restarted as the model says."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from claimwright.emulator.imex import configuration
from claimwright.emulator.model import NodeModel, NodeState
from claimwright.emulator.model.fabric import ImexService
from claimwright.emulator.model.operations import fabric

_log = logging.getLogger(__name__)
_STOP_SECONDS = 5.0


@asynccontextmanager
async def keep(model: NodeModel, driver_root: Path) -> AsyncIterator[None]:
    """Keep the daemon as `NodeState.imex` says for as long as the block lasts.

    A daemon that ends by itself, or is killed, is not started again: the model then says that it does not run.
    """
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    told: object = loop  # no service yet

    def tell(state: NodeState) -> None:
        nonlocal told
        if state.imex is not told:  # waking the loop takes longer than most changes
            told = state.imex
            loop.call_soon_threadsafe(changed.set)

    unsubscribe = model.subscribe(tell)
    keeper = asyncio.create_task(_Keeper(model, driver_root, changed).run())
    try:
        yield
    finally:
        unsubscribe()
        keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeper


class _Keeper:
    def __init__(self, model: NodeModel, driver_root: Path, changed: asyncio.Event) -> None:
        self._model = model
        self._root = driver_root
        self._changed = changed
        self._written: ImexService | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def run(self) -> None:
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                await self._follow(self._model.snapshot().imex)
        finally:
            await self._stop()

    async def _follow(self, wanted: ImexService | None) -> None:
        if wanted is None:
            return
        if _settings(wanted) != _settings(self._written):
            await self._stop()
        if wanted != self._written:
            configuration.write(wanted, self._root)
            self._written = wanted
        if wanted.running and self._process is None:
            await self._start()
        elif not wanted.running:
            await self._stop()

    async def _start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            str(self._root / "usr/bin/nvidia-imex"),
            "-c",
            str(self._root / configuration.CONFIG),
            stdin=asyncio.subprocess.DEVNULL,
        )
        self._watcher = asyncio.create_task(self._watch(self._process))

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        status = await process.wait()
        if self._process is process:
            _log.warning("nvidia-imex (process %d) ended with status %d", process.pid, status)
            self._process = None
            self._model.perform(fabric.stop_imex)

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None or self._watcher is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(asyncio.shield(self._watcher), _STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await self._watcher


def _settings(service: ImexService | None) -> ImexService | None:
    """Return what the daemon reads at its start."""
    return service and replace(service, running=False)
