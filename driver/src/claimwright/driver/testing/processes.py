"""Programs that answer from a script, and processes that are there until somebody ends them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from claimwright.driver.ports import Finished, ProcessId, View


class ScriptedProcesses:
    """Remembers each command and answers by program name; everything succeeds unless told otherwise.

    `living` are the processes with their environments; whoever is sent a signal is gone, unless it is `stubborn`.
    """

    def __init__(self, answers: Mapping[str, Finished] | None = None) -> None:
        self.answers = dict(answers or {})
        self.commands: list[tuple[str, ...]] = []
        self.living: dict[ProcessId, Mapping[str, str]] = {}
        self.stubborn: set[ProcessId] = set()
        self._last = 0
        self._watched: dict[ProcessId, list[int]] = {}

    def run(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],  # noqa: ARG002  the shape of the port
        timeout_seconds: float,  # noqa: ARG002
        text: str = "",  # noqa: ARG002
        view: View | None = None,  # noqa: ARG002
        stays: bool = False,  # noqa: ARG002
    ) -> Finished:
        """Answer at once."""
        program = PurePosixPath(command[0]).name
        self.commands.append((program, *command[1:]))
        return self.answers.get(program, Finished(0, ""))

    def tidy(self) -> None:
        """Nothing was arranged."""

    @property
    def watched(self) -> frozenset[ProcessId]:
        """The processes whose end somebody waits for."""
        return frozenset(self._watched)

    def begin(self, environment: Mapping[str, str]) -> ProcessId:
        """Have one more living process."""
        self._last += 1
        process = ProcessId(pid=self._last % 3 + 1000, started=self._last)
        self.living[process] = dict(environment)
        return process

    def end(self, process: ProcessId) -> None:
        """End a process, and tell who watches it."""
        self.living.pop(process, None)
        for descriptor in self._watched.pop(process, ()):
            os.close(descriptor)

    def marked(self, variable: str, value: str) -> tuple[ProcessId, ...]:
        """Return the living processes with the variable."""
        return tuple(process for process, each in self.living.items() if each.get(variable) == value)

    def find(self, pid: int) -> ProcessId | None:
        """Return the living process with the pid."""
        return next((process for process in reversed(self.living) if process.pid == pid), None)

    def send(self, process: ProcessId, number: signal.Signals) -> None:  # noqa: ARG002  all of them end it
        """End the process unless it is stubborn."""
        if process not in self.stubborn:
            self.end(process)

    def wait_ended(self, processes: Iterable[ProcessId], *, timeout_seconds: float) -> bool:  # noqa: ARG002
        """Tell whether all have ended."""
        return not any(process in self.living for process in processes)

    def wait_file(
        self,
        path: Path,
        *,
        made_by: Iterable[ProcessId],  # noqa: ARG002
        timeout_seconds: float,  # noqa: ARG002
    ) -> bool:
        """Tell whether it is there."""
        return path.exists()

    def watch(self, process: ProcessId) -> int | None:
        """Return the reading end of a pipe whose other end is closed when the process ends."""
        if process not in self.living:
            return None
        reading, writing = os.pipe()
        self._watched.setdefault(process, []).append(writing)
        return reading
