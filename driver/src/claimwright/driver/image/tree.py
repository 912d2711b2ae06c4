"""What a layer holds: contents by absolute path inside the image."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class Content:
    """A file: its bytes, or the file of this machine that has them. All belong to root."""

    source: Path | None = None
    data: bytes = b""
    mode: int = 0o644

    def read(self) -> bytes:
        """Return the bytes."""
        return self.data if self.source is None else self.source.read_bytes()


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


Tree = Mapping[PurePosixPath, Content | Link]


def parents(tree: Tree) -> list[PurePosixPath]:
    """Return the folders that the paths of a tree need, each after its own parent."""
    return sorted({folder for path in tree for folder in path.parents} - {PurePosixPath("/")})


def lay_out(tree: Tree, folder: Path) -> None:
    """Write a tree below `folder`, as the image would hold it."""
    for path, entry in sorted(tree.items()):
        place = folder / path.relative_to("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(entry, Link):
            os.symlink(entry.target, place)  # noqa: PTH211 - the order of arguments of ln
        else:
            place.write_bytes(entry.read())
            place.chmod(entry.mode)
