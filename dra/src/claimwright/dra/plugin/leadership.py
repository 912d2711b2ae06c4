"""Which of several running instances publishes slices: the one that started last and still lives."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from claimwright.dra.files import write_atomically

LEADER_FILE: Final = "publisher"


class Leadership:
    """A new instance takes over at once; an older one comes back only when the newer one is gone.

    Two publishers with different versions of a driver would undo each other's slices without end. The name of
    the leader is in a file; its life is a lock that the kernel frees when the process ends.
    """

    def __init__(self, folder: Path, instance: str) -> None:
        self._folder = folder
        self._instance = instance
        self._descriptor: int | None = None

    def take(self) -> None:
        """Become the leader; raises OSError."""
        if self._descriptor is None:
            self._descriptor = os.open(
                self._lock_file(self._instance), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        write_atomically(self._folder / LEADER_FILE, self._instance, mode=0o600)

    def holds(self) -> bool:
        """Whether this instance publishes now; takes over from a leader that is gone."""
        if self._descriptor is None:
            return False
        leader = self._leader()
        if leader == self._instance:
            return True
        if leader is not None and self._alive(leader):
            return False
        self.take()
        return True

    def leave(self) -> None:
        """Give the leadership up, by freeing the lock that proves this instance alive."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._lock_file(self._instance).unlink(missing_ok=True)
            os.close(descriptor)

    def _leader(self) -> str | None:
        try:
            return (self._folder / LEADER_FILE).read_text()
        except FileNotFoundError:
            return None

    def _alive(self, instance: str) -> bool:
        try:
            descriptor = os.open(self._lock_file(instance), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(descriptor)

    def _lock_file(self, instance: str) -> Path:
        return self._folder / f"instance-{instance}.lock"
