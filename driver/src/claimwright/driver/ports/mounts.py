"""Mounts as a port."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Mounts(Protocol):
    """File systems that the driver mounts."""

    @property
    def possible(self) -> bool:
        """Whether this process may mount at all."""
        ...

    def tmpfs(self, folder: Path, *, kibibytes: int) -> None:
        """Mount a tmpfs over `folder` unless something is mounted there; OSError is the kernel's answer."""
        ...

    def unmount(self, folder: Path) -> None:
        """Unmount all that is mounted at `folder`, though somebody may still use it; nothing there is fine."""
        ...
