"""Processes of this machine, told apart by pid and start time, and found again by a marker in their environment."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from claimwright.cluster import errors

MARKER = "CLAIMWRIGHT_CLUSTER_FOLDER"


@dataclass(frozen=True)
class Identity:
    """A process that cannot be mistaken for a later one with the same pid: `started` is in clock ticks."""

    pid: int
    started: int


def identify(pid: int) -> Identity | None:
    """Return the identity of a living process; None when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    # proc_pid_stat(5), counted after the name: 1 is the state, 20 the start time.
    return None if fields[0] in {"Z", "X"} else Identity(pid, int(fields[19]))


def is_alive(identity: Identity) -> bool:
    """Say whether exactly this process still runs."""
    return identify(identity.pid) == identity


def with_marker(value: str) -> Iterator[Identity]:
    """Yield the processes whose environment holds `MARKER=value`, this one excepted."""
    wanted = f"{MARKER}={value}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0") and (
                found := identify(int(entry.name))
            ):
                yield found


def end(identities: Iterable[Identity], *, grace_seconds: float, deadline_seconds: float = 10.0) -> None:
    """End processes and wait until they are gone: SIGTERM, then SIGKILL after the grace (0: at once).

    Raises NotReady naming a process that survives SIGKILL (stuck in the kernel).
    """
    waiting = {}
    for identity in identities:
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(identity.pid)
            # Opened first and compared second: from here on the descriptor cannot name another process.
            if is_alive(identity):
                waiting[descriptor] = identity
            else:
                os.close(descriptor)
    try:
        if grace_seconds > 0:
            _signal(waiting, signal.SIGTERM)
            _wait(waiting, grace_seconds)
        _signal(waiting, signal.SIGKILL)
        _wait(waiting, deadline_seconds)
        if waiting:
            stuck = ", ".join(str(identity.pid) for identity in waiting.values())
            raise errors.NotReady(
                f"process {stuck} does not end after SIGKILL: see /proc/PID/stack for where"
            )
    finally:
        for descriptor in waiting:
            os.close(descriptor)


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process, 0 when it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _signal(waiting: dict[int, Identity], number: signal.Signals) -> None:
    for descriptor in waiting:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, number)


def _wait(waiting: dict[int, Identity], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while waiting and (left := deadline - time.monotonic()) > 0:
        for descriptor in select.select(list(waiting), [], [], left)[0]:
            os.close(descriptor)
            del waiting[descriptor]
