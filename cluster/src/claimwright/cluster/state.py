"""What is known on disk about a cluster: its record, and the lock that up and down of one name share."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from claimwright.cluster import errors
from claimwright.cluster.files import write_atomically

_RECORD = "cluster.json"
_LOCK_SECONDS = 15.0


@dataclass(frozen=True)
class Record:
    """How far a cluster came: written before anything is made, and again when all is ready."""

    provider: str
    phase: Literal["starting", "ready"]


def begin(folder: Path, provider: str) -> None:
    """Make the folder and record that a start was begun, before anything else is made."""
    folder.mkdir(parents=True, mode=0o700)
    write_atomically(folder / _RECORD, json.dumps(asdict(Record(provider, "starting"))))


def finish(folder: Path) -> None:
    """Record that the cluster is ready."""
    record = read(folder)
    assert record is not None, f"{folder} was begun before it is finished"
    write_atomically(folder / _RECORD, json.dumps(asdict(Record(record.provider, "ready"))))


def read(folder: Path) -> Record | None:
    """Return the record, or None where there is none that can be read."""
    content = read_object(folder / _RECORD)
    if content.get("provider") not in {"local", "kind", "kubeconfig"}:
        return None
    return Record(content["provider"], "ready" if content.get("phase") == "ready" else "starting")


def read_object(path: Path) -> dict[str, Any]:
    """Return a JSON object from disk; an unreadable or foreign file is an empty one."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def remove(folder: Path) -> None:
    """Remove a cluster's folder; the record goes last, so that a crash here is seen as unfinished work."""
    if not folder.exists():
        return
    for path in folder.iterdir():
        if path.name != _RECORD:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.rmtree(folder)


@contextmanager
def locked(folder: Path, *, wait_seconds: float = _LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock of one cluster name; raises ClusterBusy when another process keeps it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.parent / f".{folder.name}.lock"
    stream = _acquire(path, time.monotonic() + wait_seconds)
    try:
        yield
    finally:
        if not folder.exists():
            path.unlink(missing_ok=True)
        os.close(stream)


def _acquire(path: Path, deadline: float) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The last holder may have removed the file in between; a lock on a nameless file excludes nobody.
            if _same_file(path, descriptor):
                return descriptor
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise errors.ClusterBusy(
                    f"another command is starting or stopping cluster {path.name[1:-5]!r}: wait for it or end it"
                ) from None
            time.sleep(0.1)
        os.close(descriptor)


def _same_file(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
