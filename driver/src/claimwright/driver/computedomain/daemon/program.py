"""nvidia-imex as a child process; it is part of the node's driver, whose files CDI gives to the container."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from claimwright.driver.errors import StepFailed

logger = logging.getLogger(__name__)
PROGRAM: Final = "nvidia-imex"
_STOP_SECONDS: Final = 5.0


class Imex(Protocol):
    """One nvidia-imex at a time."""

    async def start(self) -> None:
        """Start it; StepFailed when it cannot be started."""
        ...

    async def ended(self) -> int:
        """Wait for the end of the one that was started, and return its status."""
        ...

    def resolve_again(self) -> None:
        """Have it look at its peers' names again."""
        ...

    async def stop(self) -> None:
        """End it if it runs, and wait until it has."""
        ...


class ImexProgram:
    """The real one; it logs where this process does."""

    def __init__(self, configuration: Path) -> None:
        self._command = (PROGRAM, "-c", str(configuration))
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it; StepFailed when it cannot be started."""
        try:
            self._process = await asyncio.create_subprocess_exec(*self._command, stdin=subprocess.DEVNULL)
        except OSError as error:
            searched = os.environ.get("PATH", "")
            raise StepFailed(
                f"{' '.join(self._command)} could not be started: {error.strerror}; PATH is {searched!r}. "
                "It belongs to the NVIDIA driver of the node (package nvidia-imex), whose files CDI gives to this pod"
            ) from error
        logger.info("started %s as process %d", " ".join(self._command), self._process.pid)

    async def ended(self) -> int:
        """Wait for the end of the one that was started, and return its status."""
        assert self._process is not None
        return await self._process.wait()

    def resolve_again(self) -> None:
        """Send SIGUSR1."""
        self._send(signal.SIGUSR1)

    async def stop(self) -> None:
        """End it if it runs: kindly, so that its peers know at once, then by force."""
        process = self._process
        if process is None:
            return
        self._send(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)
        except TimeoutError:
            logger.warning("%s did not end within %g s of SIGTERM and is killed", PROGRAM, _STOP_SECONDS)
            self._send(signal.SIGKILL)
            await process.wait()

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)
