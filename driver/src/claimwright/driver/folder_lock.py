"""One driver process at a time per plugin folder: two would write one journal."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from claimwright.driver.errors import NodeUnusable

NAME: Final = "driver.lock"
_POLL_SECONDS: Final = 0.02


class FolderLock:
    """Held until `release` or the end of the process, however it ends."""

    def __init__(self, folder: Path, name: str = NAME) -> None:
        self.path = folder / name
        self._descriptor = -1

    async def acquire(
        self, *, timeout_seconds: float, ask: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Wait for who has it, and `ask` again and again; NodeUnusable names it when it does not give it up."""
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        while self._descriptor < 0:
            descriptor = self._open()
            try:
                await self._lock(descriptor, deadline, timeout_seconds, ask)
                # The former one may have removed the file as it left: then nobody else would meet this lock.
                if _is_at(self.path, descriptor):
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
                    self._descriptor = descriptor
            finally:
                if self._descriptor != descriptor:
                    os.close(descriptor)

    def release(self) -> None:
        """Let the next process in; twice is fine."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> int:
        try:
            self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise NodeUnusable(
                f"plugin folder {self.path.parent} cannot be used: {error.strerror}; "
                "see --kubelet-plugins-directory-path"
            ) from error

    async def _lock(
        self,
        descriptor: int,
        deadline: float,
        timeout_seconds: float,
        ask: Callable[[], Awaitable[None]] | None,
    ) -> None:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if asyncio.get_running_loop().time() >= deadline:
                    holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
                    raise NodeUnusable(
                        f"another driver (process {holder or 'unknown'}) uses {self.path.parent} "
                        f"for more than {timeout_seconds:g} s; stop it, or give this one another "
                        "--kubelet-plugins-directory-path"
                    ) from None
                if ask is not None:
                    await ask()
                await asyncio.sleep(_POLL_SECONDS)
            else:
                return


def _is_at(path: Path, descriptor: int) -> bool:
    held = os.fstat(descriptor)
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    return (held.st_dev, held.st_ino) == (named.st_dev, named.st_ino)
