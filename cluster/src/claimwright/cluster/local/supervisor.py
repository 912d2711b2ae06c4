"""Talk to the first process of a cluster or node (`init.py`): start it, and have it start programs."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claimwright.cluster import errors, programs
from claimwright.cluster.local import enter, init

_START_SECONDS = 20.0
_REPLY_SECONDS = 10.0
_PYTHON = (sys.executable, "-I", "-S")


def interpreter(module_file: str | None) -> tuple[str, ...]:
    """Return the command that runs one of the standalone files of this folder."""
    assert module_file is not None
    return (*_PYTHON, module_file)


def enter_prefix(pid: int) -> tuple[str, ...]:
    """Return the command prefix that runs a program in the namespaces of process `pid`."""
    return (*interpreter(enter.__file__), str(pid))


def init_command(
    folder: Path,
    *,
    namespaces: Sequence[str],
    hostname: str,
    steps: Sequence[Mapping[str, Any]],
    listener: int | None = None,
) -> list[str]:
    """Return the command that starts a first process whose control socket and log are in `folder`."""
    config = {
        "folder": os.fspath(folder), "namespaces": list(namespaces), "hostname": hostname,
        "steps": [dict(step) for step in steps], "listener": listener,
    }  # fmt: skip
    return [*interpreter(init.__file__), json.dumps(config)]


@dataclass(frozen=True)
class Supervisor:
    """The door to one first process; `pid` is its number in this process's PID namespace."""

    folder: Path
    pid: int

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        *,
        inherit: Sequence[int] = (),
    ) -> Supervisor:
        """Run `command` (an `init_command`) from this process and wait until it serves."""
        log = folder / "init.log"
        with log.open("ab") as stream:
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
                start_new_session=True, pass_fds=inherit,
            )  # fmt: skip
        try:
            code = process.wait(_START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = -1
        if code != 0:
            raise errors.NotReady(
                f"the namespaces of {folder.name} could not be made:\n{programs.tail_of_file(log)}"
            )
        return cls.connect(folder)

    @classmethod
    def connect(cls, folder: Path) -> Supervisor:
        """Find the living first process of `folder`; raises NotReady when none answers."""
        with _dial(folder) as connection:
            # unix(7): the credentials of the process that called listen(), translated into our PID namespace.
            raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return cls(folder, struct.unpack("3i", raw)[0])

    @classmethod
    def await_start(cls, folder: Path) -> Supervisor:
        """Wait for a first process that another one was asked to start."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                return cls.connect(folder)
            except errors.NotReady:
                said = programs.tail_of_file(folder / "init.log")
                if time.monotonic() > deadline or "Error" in said:
                    raise errors.NotReady(f"{folder.name} did not start:\n{said}") from None
            time.sleep(0.02)

    def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        environment: Mapping[str, str],
        log: Path,
        listener: bool = False,
    ) -> int:
        """Start a program as a child of the first process and return its pid, as seen from here."""
        request = {
            "argv": [os.fspath(part) for part in argv], "environment": dict(environment), "log": os.fspath(log),
            "listener": listener,
        }  # fmt: skip
        with _dial(self.folder) as connection:
            connection.sendall(json.dumps(request).encode() + b"\n")
            _, descriptors, _, _ = socket.recv_fds(connection, 64, 1)
        if not descriptors:
            raise errors.NotReady(
                f"{self.folder.name} refused to start {argv[0]}:\n{programs.tail_of_file(self.folder / 'init.log')}"
            )
        try:
            return _pid_behind(descriptors[0])
        finally:
            os.close(descriptors[0])

    @property
    def enter(self) -> tuple[str, ...]:
        """The command prefix that runs a program in these namespaces."""
        return enter_prefix(self.pid)


def _dial(folder: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(_REPLY_SECONDS)
    try:
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:
            # Through the descriptor: the path itself may be longer than a socket address holds (107 bytes).
            connection.connect(f"/proc/self/fd/{descriptor}/{init.SOCKET}")
        finally:
            os.close(descriptor)
    except OSError as error:
        connection.close()
        raise errors.NotReady(f"no process answers at {folder / init.SOCKET}: {error}") from error
    return connection


def _pid_behind(pidfd: int) -> int:
    for line in Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines():
        if line.startswith("Pid:"):
            return int(line.split()[1])
    raise errors.NotReady("the kernel does not tell pids of pidfds (Linux 5.10 or newer is needed)")
