"""Child processes with a deadline, and processes that stay; no shell."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from claimwright.driver.adapters import process_files
from claimwright.driver.errors import StepFailed
from claimwright.driver.ports import Finished, ProcessId, View

_LAUNCHER: Final = Path(__file__).with_name("launcher.py")


class ChildProcesses:
    """Runs programs of the driver installation."""

    def run(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        timeout_seconds: float,
        text: str = "",
        view: View | None = None,
    ) -> Finished:
        """Run to the end; a program that cannot start or outlives the deadline raises StepFailed."""
        # Files, not pipes: a program that puts itself into the background may keep its output open.
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as output:
            given.write(text.encode())
            given.seek(0)
            try:
                ended = subprocess.run(
                    [*_launcher(view), *command],
                    env={**os.environ, **environment},
                    stdin=given,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=timeout_seconds,
                    start_new_session=True,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise StepFailed(f"{shlex.join(command)} did not end within {timeout_seconds:g} s") from error
            except OSError as error:
                raise StepFailed(f"{shlex.join(command)} could not be started: {error}") from error
            output.seek(0)
            return Finished(ended.returncode, output.read().decode(errors="replace"))

    def marked(self, variable: str, value: str) -> tuple[ProcessId, ...]:
        """Return the living processes in whose environment `variable` was `value` when they started."""
        return tuple(process_files.marked(variable, value))

    def find(self, pid: int) -> ProcessId | None:
        """Return the living process that has the pid now."""
        return process_files.find(pid)

    def send(self, process: ProcessId, number: signal.Signals) -> None:
        """Send a signal; to a process that has ended it is fine."""
        process_files.send(process, number)

    def wait_ended(self, processes: Iterable[ProcessId], *, timeout_seconds: float) -> bool:
        """Wait until all have ended; tell whether they have."""
        return process_files.wait_ended(processes, timeout_seconds)

    def wait_file(self, path: Path, *, made_by: Iterable[ProcessId], timeout_seconds: float) -> bool:
        """Wait until `path` exists; tell whether it does."""
        return process_files.wait_file(path, made_by, timeout_seconds)

    def watch(self, process: ProcessId) -> int | None:
        """Return a descriptor that becomes readable when the process ends."""
        return process_files.watch(process)


def _launcher(view: View | None) -> tuple[str, ...]:
    """Return what goes before the command: another process that arranges the view, since threads cannot."""
    if view is None:
        return ()
    described = {
        "binds": {str(place): str(folder) for place, folder in view.binds.items()},
        "scratch": None if view.scratch is None else str(view.scratch),
        "root": str(view.root),
    }
    return (sys.executable, "-I", "-S", str(_LAUNCHER), json.dumps(described))
