"""Have the mount worker do a job."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, TypeVar

from claimwright.emulator.errors import MountRefused
from claimwright.emulator.files.mount_jobs import (
    AttachJob,
    Connected,
    DetachJob,
    Found,
    Mounted,
    Refused,
    receive,
    send,
)
from claimwright.emulator.files.tree import Tree

_SECONDS = 20.0
T = TypeVar("T")


class Connection(Protocol):
    """A FUSE connection: `handle` is what is mounted, `start` begins to serve it."""

    handle: int

    def start(self) -> None:
        """Begin to serve."""


def attached(job: AttachJob, connect: Callable[[Tree], Connection] | None) -> Mapping[str, int]:
    """Attach; return the descriptors of the folders that have to be kept true.

    `connect` gets what the namespace has itself, and serves that beside the emulated entries; None has plain files
    written, whose folders all come back.
    """
    with _worker(job) as worker:
        if connect is not None:
            found, _ = _answer(worker, Found, job.namespace)
            connection = connect(found.real)
            _tell(worker, (connection.handle,), job.namespace)
            _answer(worker, Connected, job.namespace)
            connection.start()
        mounted, handles = _answer(worker, Mounted, job.namespace)
    return dict(zip(mounted.folders, handles, strict=True))


def detached(job: DetachJob) -> None:
    """Detach."""
    with _worker(job) as worker:
        _answer(worker, Mounted, job.namespace)


def _answer(worker: socket.socket, kind: type[T], namespace: str) -> tuple[T, tuple[int, ...]]:
    try:
        answer, handles = receive(worker)
    except TimeoutError:
        raise MountRefused(f"{namespace}: mounting took longer than {_SECONDS:.0f} s") from None
    except (EOFError, ConnectionResetError):
        raise MountRefused(f"{namespace}: the mount worker died") from None
    if isinstance(answer, Refused):
        raise MountRefused(f"{namespace}: {answer.why}")
    assert isinstance(answer, kind)
    return answer, handles


def _tell(worker: socket.socket, handles: tuple[int, ...], namespace: str) -> None:
    try:
        send(worker, None, handles)
    except BrokenPipeError:
        raise MountRefused(f"{namespace}: the mount worker died") from None


@contextmanager
def _worker(job: AttachJob | DetachJob) -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(_SECONDS)
        worker = subprocess.Popen(
            [sys.executable, "-m", "claimwright.emulator.files.mount_worker", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        try:
            send(ours, job)
            yield ours
        finally:
            ours.close()  # a worker that waits for us undoes what it did, and ends
            _end(worker)


def _end(worker: subprocess.Popen[bytes]) -> None:
    try:
        worker.wait(timeout=1)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()
