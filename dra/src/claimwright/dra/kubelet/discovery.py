"""Finding plugins by their registration sockets."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from claimwright.dra.kubelet.errors import RegistrationFailed
from claimwright.dra.kubelet.handshake import PluginInfo, register

_LOG: Final = logging.getLogger(__name__)
_FIRST_BACKOFF_SECONDS: Final = 0.5
_LAST_BACKOFF_SECONDS: Final = 120.0

# A socket file is another one when another process has bound it.
_Identity = tuple[int, int, int]
Registered = Callable[[PluginInfo], Awaitable[None]]
Gone = Callable[[PluginInfo], Awaitable[None]]


def find_sockets(registry_dir: Path) -> dict[Path, tuple[int, int, int]]:
    """Give the registration sockets below a folder and their identities; hidden names are not looked at."""
    found: dict[Path, tuple[int, int, int]] = {}
    for folder, folders, names in os.walk(registry_dir):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder) / name
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            if not name.startswith(".") and stat.S_ISSOCK(status.st_mode):
                found[path] = (status.st_dev, status.st_ino, status.st_ctime_ns)
    return found


async def find_plugins(registry_dir: Path, *, driver: str | None = None) -> tuple[PluginInfo, ...]:
    """Register every plugin that is there now; those that fail are logged and left out."""
    found = []
    for socket in find_sockets(registry_dir):
        try:
            info = await register(socket)
        except RegistrationFailed as error:
            _LOG.warning("plugin at %s was not registered: %s", socket, error)
            continue
        if driver in (None, info.name):
            found.append(info)
    return tuple(found)


async def wait_for_plugin(registry_dir: Path, driver: str, *, timeout_seconds: float) -> PluginInfo:
    """Register the plugin of a driver as soon as it appears; raises RegistrationFailed at the deadline."""
    ready: asyncio.Future[PluginInfo] = asyncio.get_running_loop().create_future()

    async def registered(info: PluginInfo) -> None:
        if info.name == driver and not ready.done():
            ready.set_result(info)

    async with PluginWatcher(registry_dir, on_registered=registered) as watcher:
        try:
            return await asyncio.wait_for(ready, timeout_seconds)
        except TimeoutError:
            reasons = "; ".join(watcher.errors.values()) or "no registration socket of it appeared"
            raise RegistrationFailed(
                f"driver {driver!r} did not register in {registry_dir} in {timeout_seconds:g} s: {reasons}"
            ) from None


@dataclass
class _Attempt:
    task: asyncio.Task[None]
    identity: _Identity
    info: PluginInfo | None = None


class PluginWatcher:
    """Registers plugins that appear in a folder and tells when their sockets go.

    A failed handshake is repeated from its start with growing pauses, like the kubelet's. `errors` holds the
    last failure of each socket that is not registered.
    """

    def __init__(
        self,
        registry_dir: Path,
        on_registered: Registered,
        on_gone: Gone | None = None,
        *,
        poll_seconds: float = 0.05,
        first_backoff_seconds: float = _FIRST_BACKOFF_SECONDS,
        dial_seconds: float = 10.0,
    ) -> None:
        self.errors: dict[Path, str] = {}
        self._registry_dir = registry_dir
        self._on_registered = on_registered
        self._on_gone = on_gone
        self._poll_seconds = poll_seconds
        self._first_backoff_seconds = first_backoff_seconds
        self._dial_seconds = dial_seconds
        self._attempts: dict[Path, _Attempt] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def plugins(self) -> tuple[PluginInfo, ...]:
        """The registered plugins, the longest registered first."""
        return tuple(attempt.info for attempt in self._attempts.values() if attempt.info is not None)

    async def start(self) -> None:
        """Start watching; plugins that are there already are registered as well."""
        self._task = asyncio.create_task(self._watch(), name=f"plugins of {self._registry_dir}")

    async def stop(self) -> None:
        """Stop watching; nothing is told about plugins that are still there."""
        tasks = [attempt.task for attempt in self._attempts.values()]
        tasks += [self._task] if self._task is not None else []
        self._task = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._attempts.clear()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _watch(self) -> None:
        while True:
            present = find_sockets(self._registry_dir)
            for path, attempt in list(self._attempts.items()):
                if present.get(path) != attempt.identity:
                    await self._forget(path)
            for path, identity in present.items():
                if path not in self._attempts:
                    task = asyncio.create_task(self._register(path), name=f"registration of {path.name}")
                    self._attempts[path] = _Attempt(task, identity)
            await asyncio.sleep(self._poll_seconds)

    async def _forget(self, path: Path) -> None:
        attempt = self._attempts.pop(path)
        attempt.task.cancel()
        self.errors.pop(path, None)
        await asyncio.gather(attempt.task, return_exceptions=True)
        if attempt.info is not None and self._on_gone is not None:
            await self._on_gone(attempt.info)

    async def _register(self, path: Path) -> None:
        backoff = self._first_backoff_seconds
        while True:
            try:
                info = await register(path, accept=self._accept, dial_seconds=self._dial_seconds)
            except RegistrationFailed as error:
                self.errors[path] = str(error)
                _LOG.warning("plugin at %s was not registered: %s", path, error)
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, _LAST_BACKOFF_SECONDS)
            else:
                self.errors.pop(path, None)
                self._attempts[path].info = info
                await self._on_registered(info)
                return

    async def _accept(self, info: PluginInfo) -> None:
        if any((known.name, known.endpoint) == (info.name, info.endpoint) for known in self.plugins):
            raise RegistrationFailed(
                f"endpoint {info.endpoint} already registered for plugin name {info.name!r} by another socket"
            )
