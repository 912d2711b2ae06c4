"""Mounts in memory."""

from __future__ import annotations

from pathlib import Path


class MemoryMounts:
    """Remembers what is mounted; nothing is."""

    def __init__(self, *, possible: bool = True) -> None:
        self.possible = possible
        self.mounted: dict[Path, int] = {}

    def tmpfs(self, folder: Path, *, kibibytes: int) -> None:
        """Remember the mount."""
        self.mounted.setdefault(folder, kibibytes)

    def unmount(self, folder: Path) -> None:
        """Forget the mount."""
        self.mounted.pop(folder, None)
