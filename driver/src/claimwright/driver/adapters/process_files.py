"""Processes as /proc and the kernel's descriptors show them: by pid and start time, by environment, by their end."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, Self

from claimwright.driver.ports import ProcessId

_PROC: Final = Path("/proc")
# Fields of /proc/PID/stat after the name in parentheses, which may hold anything (proc_pid_stat(5)).
_STATE, _START = 0, 19
_DEAD: Final = frozenset({"Z", "X", "x"})
_IN_CREATE, _IN_MOVED_TO = 0x100, 0x80  # linux/inotify.h


def find(pid: int) -> ProcessId | None:
    """Return the living process with the pid; a zombie is none."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    if fields[_STATE] not in _DEAD:
        return ProcessId(pid, int(fields[_START]))
    # In a container the driver is process 1, to which daemons fall when their parents end: nobody else takes them away.
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return None


def marked(variable: str, value: str) -> Iterator[ProcessId]:
    """Yield the living processes that were started with the variable."""
    wanted = f"{variable}={value}".encode()
    for entry in _PROC.iterdir():
        if entry.name.isdecimal() and wanted in _environment(entry):
            found = find(int(entry.name))
            if found is not None:
                yield found


def watch(process: ProcessId) -> int | None:
    """Open a descriptor that becomes readable at the end of the process."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError as error:
        if error.errno == errno.ESRCH:
            return None
        raise
    # Only now the pid cannot change hands any more.
    if find(process.pid) == process:
        return descriptor
    os.close(descriptor)
    return None


def send(process: ProcessId, number: signal.Signals) -> None:
    """Send a signal to this process and no later one of its pid."""
    descriptor = watch(process)
    if descriptor is None:
        return
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, number)
    os.close(descriptor)


def wait_ended(processes: Iterable[ProcessId], timeout_seconds: float) -> bool:
    """Wait until all have ended."""
    deadline = time.monotonic() + timeout_seconds
    with _Ends(processes) as ends:
        while not ends.all_ended:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            ends.wait(left)
    return True


def wait_file(path: Path, made_by: Iterable[ProcessId], timeout_seconds: float) -> bool:
    """Wait for an entry of a folder by inotify, or for the end of all that could make it."""
    deadline = time.monotonic() + timeout_seconds
    with _Ends(made_by) as ends:
        ends.add(_inotify(path.parent))
        while not path.exists():
            left = deadline - time.monotonic()
            if left <= 0 or ends.all_ended:
                return path.exists()
            ends.wait(left)
    return True


class _Ends:
    """Descriptors of processes, and of one source of events besides."""

    def __init__(self, processes: Iterable[ProcessId]) -> None:
        self._open = ExitStack()
        self._poll = select.poll()
        self._events: int | None = None
        opened = (watch(process) for process in processes)
        self._alive = {descriptor for descriptor in opened if descriptor is not None}
        for descriptor in self._alive:
            self._keep(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def all_ended(self) -> bool:
        return not self._alive

    def add(self, descriptor: int) -> None:
        self._events = descriptor
        self._keep(descriptor)

    def wait(self, seconds: float) -> None:
        for descriptor, _ in self._poll.poll(seconds * 1000):
            if descriptor == self._events:
                os.read(descriptor, 4096)
            else:
                self._alive.discard(descriptor)
                self._poll.unregister(descriptor)

    def _keep(self, descriptor: int) -> None:
        self._open.callback(os.close, descriptor)
        self._poll.register(descriptor, select.POLLIN)


def _inotify(folder: Path) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    descriptor: int = library.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    if (
        descriptor < 0
        or library.inotify_add_watch(descriptor, os.fsencode(folder), _IN_CREATE | _IN_MOVED_TO) < 0
    ):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
    return descriptor


def _environment(entry: Path) -> list[bytes]:
    try:
        return (entry / "environ").read_bytes().split(b"\0")
    except OSError:
        return []
