"""Host files below one root: `/` on the node itself, `/host-root` in a pod, any folder in a test."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from claimwright.driver.ports import FileKind


class HostTree:
    """Reads and writes files by the paths that they have on the host."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._prefix = str(root).rstrip("/")

    def kind(self, path: PurePosixPath) -> FileKind | None:
        """Return what `path` is, following links; None when it does not exist."""
        try:
            status = os.stat(f"{self._prefix}{path}")  # noqa: PTH116  five of these on the way of each claim
        except OSError:
            return None
        if not stat.S_ISCHR(status.st_mode):
            return FileKind(is_directory=stat.S_ISDIR(status.st_mode))
        return FileKind(
            is_character_device=True, major=os.major(status.st_rdev), minor=os.minor(status.st_rdev)
        )

    def read_text(self, path: PurePosixPath) -> str | None:
        """Return the stripped content of a small file, None when it cannot be read."""
        try:
            return self._at(path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return None

    def read_link(self, path: PurePosixPath) -> str | None:
        """Return a symbolic link's target as written, None when `path` is none."""
        try:
            return str(self._at(path).readlink())
        except OSError:
            return None

    def links_in(self, path: PurePosixPath) -> Iterator[tuple[str, str]]:
        """Yield the names in a directory that are links, sorted, and their targets as written."""
        folder = f"{self._prefix}{path}"
        for name in self.entries(path):
            try:
                yield name, os.readlink(f"{folder}/{name}")  # noqa: PTH115  the open files of a whole host
            except OSError:
                continue

    def entries(self, path: PurePosixPath) -> tuple[str, ...]:
        """Return the sorted names in a directory, nothing when it does not exist."""
        try:
            return tuple(sorted(os.listdir(f"{self._prefix}{path}")))  # noqa: PTH208  see kind()
        except OSError:
            return ()

    def write_text(self, path: PurePosixPath, text: str) -> None:
        """Write into a file that exists, in one call as sysfs wants it; OSError is the kernel's answer."""
        # Neither creates nor truncates: a misspelt attribute must fail, not appear as a file.
        descriptor = os.open(self._at(path), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def _at(self, path: PurePosixPath) -> Path:
        return self.root / path.relative_to("/")
