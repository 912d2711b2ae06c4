"""The driver as a process on a node: start, kill, stop, wait until the kubelet knows it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from claimwright.driver.resident_memory import ENVIRONMENT
from claimwright.e2e.deadlines import wait_until

START_SECONDS = 30.0
STOP_SECONDS = 20.0
REGISTERED = b"the kubelet registered the plugin"


class DriverProcess:
    """One driver process; `start` may be called again after `kill` or `stop`.

    `argv` is the whole command, with the prefix that enters the node where there is one. It logs
    to `log`, which also tells when the kubelet has registered it.
    """

    def __init__(self, argv: Sequence[str], *, environment: Mapping[str, str], log: Path) -> None:
        self.argv = tuple(argv)
        self._environment = dict(environment)
        self._log = log
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the running driver, or of the command that entered the node for it."""
        assert self._process is not None, "the driver was never started"
        return self._process.pid

    @property
    def plugin_pid(self) -> int:
        """The process id of the plugin itself, whose memory counts; it may be a child of the one that entered."""
        family = [psutil.Process(self.pid), *psutil.Process(self.pid).children(recursive=True)]
        return next(member.pid for member in reversed(family) if "gpu-plugin" in member.cmdline())

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self, environment: Mapping[str, str] | None = None) -> None:
        """Start the process, for this once with more `environment`; its output is appended to the log."""
        self._log_start = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.argv,
                env={**os.environ, **ENVIRONMENT, **self._environment, **(environment or {})},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_registered(self) -> None:
        """Wait until a kubelet has registered this process; raise with the log's end when it dies first.

        The sockets alone would not do: a kubelet that still holds the connection to a killed driver fails its next
        call at once, and tries again only after a minute or more.
        """

        def look() -> bool:
            if not self.alive:
                assert self._process is not None
                raise RuntimeError(f"the driver ended with {self._process.returncode}:\n{self.log_end()}")
            return REGISTERED in self._log.read_bytes()[self._log_start :]

        wait_until("the driver's registration", look, seconds=START_SECONDS, seen=self.log_end)

    def kill(self) -> None:
        """SIGKILL: the driver gets no chance to tidy up, its socket files stay."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL after a deadline."""
        self._end(signal.SIGTERM)

    def _end(self, signal_number: signal.Signals) -> None:
        if self._process is None or not self.alive:
            return
        os.killpg(self._process.pid, signal_number)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def log_end(self, lines: int = 30) -> str:
        """Return the last lines of the log."""
        if not self._log.exists():
            return "(no log)"
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])
