"""The driver's own process: started from the declared command, stopped with a deadline, its output kept."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from claimwright.conformance.errors import SuiteError, Violation
from claimwright.conformance.process_records import ProcessRecords


@dataclass(slots=True)
class DriverProcess:
    """One process group; restarted at will, always with the same command."""

    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    records: ProcessRecords
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def pid(self) -> int | None:
        """Return the process id while a process was started."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the command in its own session, so that signals reach its children as well."""
        with self.log.open("ab") as output:
            try:
                self._process = subprocess.Popen(
                    list(self.command), env=dict(self.environment), stdin=subprocess.DEVNULL,
                    stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                raise SuiteError(
                    f"spec.start.command cannot be started: {self.command[0]!r}: {error}"
                ) from None
        self.records.enter(self._process.pid, self.log.parent)

    def running(self) -> bool:
        """Tell whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def exit_code(self) -> int | None:
        """Return how the process ended; None while it lives or was never started."""
        return self._process.poll() if self._process else None

    def stop(self, seconds: float) -> int:
        """Ask the process to end and return its exit code; one that stays is killed and breaks its budget."""
        assert self._process is not None, "stopped before it was started"
        self._signal(signal.SIGTERM)
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Violation(
                f"the driver to end within {seconds:g} s of SIGTERM", "it was still running"
            ) from None
        self.records.strike(self._process.pid)
        return code

    def kill(self) -> None:
        """End the process group at once; harmless when it is gone."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait(10)
            self.records.strike(self._process.pid)

    def last_words(self, lines: int = 15) -> str:
        """Return the end of the driver's output."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def _signal(self, number: int) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)
