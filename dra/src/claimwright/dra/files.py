"""Atomic files: a reader, or a crash, sees the whole old content or the whole new one."""

from __future__ import annotations

import itertools
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

_NUMBERS: Final = itertools.count()


def write_atomically(path: Path, data: bytes | str, *, mode: int = 0o644, durable: bool = True) -> None:
    """Replace `path` by `data` with permission bits `mode`, whatever the umask.

    Blocking and idempotent. With `durable` the content and the directory entry survive a power cut once this
    returns; without it only the atomicity against readers is kept. On any error the old file stays and the
    temporary one is gone, and an OSError names the file; a kill can leave a `.<name>.*.tmp` file, which
    `remove_leftovers` clears.
    """
    path = Path(path)
    descriptor, temporary = _beside(path)
    try:
        _fill(descriptor, data.encode() if isinstance(data, str) else data, mode, durable=durable)
        os.replace(temporary, path)  # noqa: PTH105  # os.* keeps the steps visible to the crash tests
    except BaseException as error:
        with suppress(FileNotFoundError):
            os.unlink(temporary)  # noqa: PTH108
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # write() does not say which file there was no room for
        raise
    if durable:
        sync_directory(path.parent)


def remove_durably(path: Path) -> None:
    """Remove `path` so that it stays removed after a power cut; a missing file is fine."""
    path = Path(path)
    path.unlink(missing_ok=True)
    sync_directory(path.parent)


def remove_leftovers(path: Path) -> None:
    """Remove temporary files that killed writers of `path` left; call it where no other writer runs."""
    for leftover in path.parent.glob(f"{_prefix(path)}*.tmp"):
        leftover.unlink(missing_ok=True)


def sync_directory(folder: Path) -> None:
    """Make renames and removals in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(path: Path) -> tuple[int, str]:
    """Create a temporary file in the folder of `path`, private to this process until it is renamed.

    Not `tempfile`: its random names and its layers take longer than the file itself, for every claim twice.
    """
    start = os.path.join(path.parent, _prefix(path))  # noqa: PTH118
    while True:
        # The number goes on, and the pid does not: in a container it is the same after each restart.
        temporary = f"{start}{os.getpid()}-{time.time_ns():x}-{next(_NUMBERS)}.tmp"
        with suppress(FileExistsError):
            return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), temporary


def _fill(descriptor: int, data: bytes, mode: int, *, durable: bool) -> None:
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fchmod(descriptor, mode)
        if durable:
            os.fsync(descriptor)  # before the rename, or a crash could leave an empty file under the name
    finally:
        os.close(descriptor)


def _prefix(path: Path) -> str:
    # Cut, so that a name of the full 255 bytes still has a temporary sibling.
    return f".{path.name[:200]}."
