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
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from claimwright.driver.adapters import process_files
from claimwright.driver.errors import StepFailed
from claimwright.driver.ports import Finished, ProcessId, View
from claimwright.driver.resident_memory import passed_on

_CGROUPS: Final = Path("/sys/fs/cgroup")
_CGROUP: Final = "claimwright-gpu-driver"
_LAUNCHER: Final = Path(__file__).with_name("launcher.py")


def outside_the_pod() -> Path | None:
    """Return a cgroup for processes that outlive this container; None where there is no container to outlive.

    A container runtime ends all that is in the container's cgroup. Only a container with the host's cgroup namespace
    and cgroup 2 can leave it; a process namespace of its own ends with it all the same, so the pod has `hostPID`.
    """
    try:
        own = Path("/proc/self/cgroup").read_text()
    except OSError:
        return None
    in_pod = any(line.startswith("0::/") and "kubepods" in line for line in own.splitlines())
    return _CGROUPS / _CGROUP if in_pod and os.access(_CGROUPS / "cgroup.procs", os.W_OK) else None


class ChildProcesses:
    """Runs programs of the driver installation; `cgroup` is where those live that stay."""

    def __init__(self, cgroup: Path | None = None) -> None:
        self._cgroup = cgroup

    def run(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        timeout_seconds: float,
        text: str = "",
        view: View | None = None,
        stays: bool = False,
    ) -> Finished:
        """Run to the end; a program that cannot start or outlives the deadline raises StepFailed."""
        # Files, not pipes: a program that puts itself into the background may keep its output open.
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as output:
            given.write(text.encode())
            given.seek(0)
            try:
                ended = subprocess.run(
                    [*_launcher(view, self._cgroup if stays else None), *command],
                    env={**passed_on(os.environ), **environment},
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

    def tidy(self) -> None:
        """Remove the cgroup unless somebody lives in it."""
        if self._cgroup is not None:
            with suppress(OSError):
                self._cgroup.rmdir()

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


def _launcher(view: View | None, cgroup: Path | None) -> tuple[str, ...]:
    """Return what goes before the command: another process that arranges all this, since threads cannot."""
    if view is None and cgroup is None:
        return ()
    described: dict[str, Any] = {"cgroup": None if cgroup is None else str(cgroup), "view": None}
    if view is not None:
        described["view"] = {
            "binds": {str(place): str(folder) for place, folder in view.binds.items()},
            "scratch": None if view.scratch is None else str(view.scratch),
            "root": str(view.root),
        }
    return (sys.executable, "-I", "-S", str(_LAUNCHER), json.dumps(described))
