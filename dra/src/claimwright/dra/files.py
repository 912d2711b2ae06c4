"""Atomic files: a reader, or a crash, sees the whole old content or the whole new one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, data: bytes | str, *, mode: int = 0o644, durable: bool = True) -> None:
    """Replace `path` by `data` with permission bits `mode`, whatever the umask.

    Blocking and idempotent. With `durable` the content and the directory entry survive a power cut once this
    returns; without it only the atomicity against readers is kept. On any error the old file stays and the
    temporary one is gone, and an OSError names the file; a kill can leave a `.<name>.*.tmp` file, which
    `remove_leftovers` clears.
    """
    path = Path(path)
    descriptor, temporary = tempfile.mkstemp(prefix=_prefix(path), suffix=".tmp", dir=path.parent)
    try:
        _fill(descriptor, data.encode() if isinstance(data, str) else data, mode, durable=durable)
        os.replace(temporary, path)  # noqa: PTH105  # os.* keeps the steps visible to the crash tests
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
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


def _fill(descriptor: int, data: bytes, mode: int, *, durable: bool) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fchmod(file.fileno(), mode)
        if durable:
            os.fsync(file.fileno())  # before the rename, or a crash could leave an empty file under the name


def _prefix(path: Path) -> str:
    # Cut, so that a name of the full 255 bytes still has a temporary sibling.
    return f".{path.name[:200]}."
