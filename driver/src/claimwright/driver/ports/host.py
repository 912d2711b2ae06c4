"""The host's files as a port."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol


@dataclass(frozen=True)
class FileKind:
    """What a path is: a character device has its numbers, anything else has none."""

    is_character_device: bool = False
    is_directory: bool = False
    major: int = 0
    minor: int = 0


class Host(Protocol):
    """The host's files, by the absolute paths that they have on the host."""

    def kind(self, path: PurePosixPath) -> FileKind | None:
        """Return what `path` is, following links; None when it does not exist."""
        ...

    def read_text(self, path: PurePosixPath) -> str | None:
        """Return the stripped content of a small file, None when it cannot be read."""
        ...

    def read_link(self, path: PurePosixPath) -> str | None:
        """Return a symbolic link's target as written, None when `path` is none."""
        ...

    def links_in(self, path: PurePosixPath) -> Iterable[tuple[str, str]]:
        """Yield the names in a directory that are links, sorted, and their targets as written."""
        ...

    def entries(self, path: PurePosixPath) -> tuple[str, ...]:
        """Return the sorted names in a directory, nothing when it does not exist."""
        ...

    def write_text(self, path: PurePosixPath, text: str) -> None:
        """Write into a file that exists, in one call as sysfs wants it; OSError is the kernel's answer."""
        ...


@dataclass(frozen=True)
class Located:
    """A file of the driver installation: where we read it and what it is called inside the root."""

    readable: Path
    inside: PurePosixPath
