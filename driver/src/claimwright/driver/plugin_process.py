"""A kubelet plugin as a process: it runs until a signal or a fault ends it, and tells probes and scrapers how it is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from claimwright.dra.plugin import Plugin, PluginError
from claimwright.driver import signals
from claimwright.driver.entries import Entry
from claimwright.driver.errors import NodeUnusable
from claimwright.driver.http_endpoint import HttpEndpoint
from claimwright.driver.machine import Watcher
from claimwright.driver.metrics import Metrics
from claimwright.driver.probe_service import HealthServer
from claimwright.driver.probing import probe_sockets
from claimwright.driver.resident_memory import give_back, keep_little
from claimwright.driver.settings import PluginSettings

logger = logging.getLogger(__name__)
Report = Callable[[PluginError], None]


class Failure:
    """What ends the process besides a signal; may be called from any thread."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = stop
        self.error: PluginError | None = None

    def __call__(self, error: PluginError) -> None:
        """Stop the plugin because of `error`."""
        self.error = error
        self._loop.call_soon_threadsafe(self._stop.set)


async def run_plugin(
    settings: PluginSettings, plugin: Callable[[Report], AbstractAsyncContextManager[Plugin]]
) -> None:
    """Run `plugin` until a signal; NodeUnusable or PluginError when it cannot go on."""
    keep_little()
    loop = asyncio.get_running_loop()
    stop = signals.stop_on_signals(loop)
    signals.dump_on_signal(loop)
    logger.info("configuration %s", settings.describe())
    failure = Failure(stop)
    async with AsyncExitStack() as parts:
        await _unless_stopped(parts.enter_async_context(plugin(failure)), stop)
        give_back()
        await stop.wait()
        logger.info("stopping")
    logger.info("stopped")
    if failure.error is not None:
        raise failure.error


async def _unless_stopped(start: Coroutine[Any, Any, Plugin], stop: asyncio.Event) -> None:
    """Start, but let a signal interrupt it: waiting for the API server may take minutes."""
    starting = asyncio.create_task(start, name="start")
    stopped = asyncio.create_task(stop.wait(), name="stopped")
    await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
    stopped.cancel()
    with suppress(asyncio.CancelledError):
        await starting


def tell_all(watchers: Sequence[Watcher]) -> Watcher:
    """Return what tells every one of `watchers`, also of those that come later."""

    def tell(entries: Iterable[Entry]) -> None:
        for watcher in watchers:
            watcher(entries)

    return tell


async def serve_probes(
    parts: AsyncExitStack, settings: PluginSettings, plugin: Plugin, metrics: Metrics
) -> None:
    """Serve the health service and the metrics as the settings say, until `parts` end."""
    if settings.healthcheck_port >= 0:
        server = HealthServer(lambda: probe_sockets(plugin.registration_path, plugin.endpoint))
        try:
            port = await server.start(settings.healthcheck_port)
        except OSError as error:
            raise NodeUnusable(f"--healthcheck-port: {error}; choose another one") from error
        parts.push_async_callback(server.stop)
        logger.info("health service listens on port %d", port)
    if settings.http_endpoint and settings.metrics_path:
        endpoint = HttpEndpoint(settings.http_endpoint, settings.metrics_path, metrics.exposition)
        endpoint.start()
        parts.callback(endpoint.stop)
        logger.info("metrics on port %d at %s", endpoint.port, settings.metrics_path)


@asynccontextmanager
async def in_background(name: str, work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do `work` within this context; what is left of it at the end is cancelled."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
