"""Start components: inside the cluster's namespaces when there are any, else as plain detached processes."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from claimwright.cluster import errors, processes, programs
from claimwright.cluster.local.supervisor import Supervisor
from claimwright.cluster.processes import Identity


class Launcher(Protocol):
    """Starts a component that outlives this command."""

    def launch(self, name: str, argv: Sequence[str]) -> Identity:
        """Start `argv` with its output in the log called `name`."""


@dataclass(frozen=True)
class Supervised:
    """Starts components as children of a first process."""

    supervisor: Supervisor
    folder: Path
    environment: Mapping[str, str]

    def launch(self, name: str, argv: Sequence[str], *, listener: bool = False) -> Identity:
        """Start inside the namespaces."""
        log = log_path(self.folder, name)
        pid = self.supervisor.run(argv, environment=self.environment, log=log, listener=listener)
        return _identified(pid, name, log)


@dataclass(frozen=True)
class Detached:
    """Starts components as processes of this user, in sessions of their own."""

    folder: Path
    environment: Mapping[str, str]

    def launch(self, name: str, argv: Sequence[str]) -> Identity:
        """Start on the host."""
        log = log_path(self.folder, name)
        with log.open("ab") as stream:
            process = subprocess.Popen(
                argv, env=self.environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
                start_new_session=True,
            )  # fmt: skip
        identity = _identified(process.pid, name, log)
        # It is meant to outlive this object; without this the interpreter warns when the object goes.
        process.returncode = 0
        return identity


def environment(folder: Path, extra_path: Path | None = None) -> dict[str, str]:
    """Return what components see of the environment: paths, and the marker that `down` finds them by."""
    path = os.environ.get("PATH", os.defpath)
    return {
        "PATH": f"{extra_path}:{path}" if extra_path else path,
        "HOME": os.environ.get("HOME", "/"),
        processes.MARKER: os.fspath(folder),
    }


def log_path(folder: Path, name: str) -> Path:
    """Return where a component's log is."""
    return folder / "logs" / f"{name}.log"


def check_alive(folder: Path, components: Mapping[str, Identity]) -> None:
    """Raise NotReady with the log of a component that has ended."""
    for name, identity in components.items():
        if not processes.is_alive(identity):
            raise _ended(name, "while the cluster was starting", log_path(folder, name))


def _ended(name: str, when: str, log: Path) -> errors.NotReady:
    """Say why a component ended, by the end of its log."""
    if _met_full_disk(log):
        return errors.NotReady(
            f"{name} ended because the disk is full ({log.parent}): free some space, or set XDG_STATE_HOME to "
            "another disk"
        )
    return errors.NotReady(f"{name} ended {when}; its log ends with:\n{programs.tail_of_file(log)}")


def _met_full_disk(log: Path) -> bool:
    """Tell whether a component says that it met ENOSPC; the end of its log is then only its stack."""
    full = os.strerror(errno.ENOSPC).lower()
    try:
        with log.open(errors="replace") as stream:
            return any(full in line.lower() for line in stream)
    except FileNotFoundError:
        return False


def _identified(pid: int, name: str, log: Path) -> Identity:
    identity = processes.identify(pid)
    if identity is None:
        raise _ended(name, "at once", log)
    return identity
