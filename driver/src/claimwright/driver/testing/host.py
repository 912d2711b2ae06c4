"""A host's files in memory."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath

from claimwright.driver.ports import FileKind


class MemoryHost:
    """Files, links and device nodes by absolute path; folders exist because something is in them."""

    def __init__(
        self,
        *,
        files: Mapping[str, str] | None = None,
        links: Mapping[str, str] | None = None,
        devices: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        self.files = {PurePosixPath(path): text for path, text in (files or {}).items()}
        self.links = {PurePosixPath(path): target for path, target in (links or {}).items()}
        self.devices = {PurePosixPath(path): numbers for path, numbers in (devices or {}).items()}
        self._stores: dict[PurePosixPath, Callable[[str], None]] = {}

    def kind(self, path: PurePosixPath) -> FileKind | None:
        """Return what `path` is, following links; None when it does not exist."""
        if path in self.devices:
            major, minor = self.devices[path]
            return FileKind(is_character_device=True, major=major, minor=minor)
        if path in self.files:
            return FileKind()
        return FileKind(is_directory=True) if self.entries(path) else None

    def read_text(self, path: PurePosixPath) -> str | None:
        """Return the stripped content of a file."""
        text = self.files.get(path)
        return None if text is None else text.strip()

    def read_link(self, path: PurePosixPath) -> str | None:
        """Return a link's target as written."""
        return self.links.get(path)

    def links_in(self, path: PurePosixPath) -> Iterator[tuple[str, str]]:
        """Yield the names in a directory that are links, sorted, and their targets as written."""
        return ((name, self.links[path / name]) for name in self.entries(path) if path / name in self.links)

    def entries(self, path: PurePosixPath) -> tuple[str, ...]:
        """Return the sorted names in a directory."""
        depth = len(path.parts)
        everything = (*self.files, *self.links, *self.devices)
        return tuple(sorted({found.parts[depth] for found in everything if path in found.parents}))

    def write_text(self, path: PurePosixPath, text: str) -> None:
        """Replace the text of a file that is there."""
        if path not in self.files:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        if path in self._stores:
            self._stores[path](text)
        else:
            self.files[path] = text

    def on_write(self, path: PurePosixPath, store: Callable[[str], None]) -> None:
        """Let a file act when it is written, as sysfs does: `store` changes the host, or raises OSError."""
        self._stores[path] = store

    def forget(self, gone: Callable[[PurePosixPath], bool]) -> None:
        """Remove the files and links that are `gone`, and what the files did."""
        for found in (self.files, self.links, self._stores):
            for path in [each for each in found if gone(each)]:
                del found[path]
