"""Compose an initramfs: a cpio archive in the `newc` form (driver-api/early-userspace/buffer-format.rst)."""

from __future__ import annotations

import gzip
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

_END = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the archive."""

    content: bytes
    executable: bool = False


def compose(files: Mapping[str, Member], folders: tuple[str, ...]) -> bytes:
    """Return the archive, gzipped: files by path without a leading slash, the folders they need, empty folders."""
    parents = {str(parent) for path in (*files, *folders) for parent in PurePosixPath(path).parents} | set(
        folders
    )
    entries = [(path, stat.S_IFDIR | 0o755, b"") for path in sorted(parents - {"."})]
    entries += [
        (path, stat.S_IFREG | (0o755 if file.executable else 0o644), file.content)
        for path, file in files.items()
    ]
    archive = b"".join(_records(entries))
    return gzip.compress(archive, compresslevel=1, mtime=0)


def _records(entries: list[tuple[str, int, bytes]]) -> Iterator[bytes]:
    for number, (path, mode, content) in enumerate([*entries, (_END, 0, b"")], start=1):
        name = path.encode() + b"\0"
        numbers = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
        header = b"070701" + b"".join(b"%08X" % each for each in numbers)
        yield _padded(header + name)
        yield _padded(content)


def _padded(part: bytes) -> bytes:
    return part + b"\0" * (-len(part) % 4)
