"""A file tree as a value: paths, and what is there. How it is served is another module's matter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True, slots=True)
class Acts:
    """What a write to a file does: the name of a store (see files.acting) and what it is about."""

    store: str
    subject: str = ""


@dataclass(frozen=True, slots=True)
class File:
    """A regular file; sysfs and procfs files end with a newline.

    `acts` says what a write does, where the file is served by something that can act. `size` is what stat shows of
    a file whose content cannot be read (a BAR).
    """

    content: bytes
    mode: int = 0o444
    acts: Acts | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link; targets in sysfs are relative."""

    target: str


@dataclass(frozen=True, slots=True)
class Dir:
    """A folder, needed only where it is empty or has a mode of its own."""

    mode: int = 0o755


@dataclass(frozen=True, slots=True)
class CharDevice:
    """A character device node."""

    major: int
    minor: int
    mode: int = 0o666


Entry = File | Link | Dir | CharDevice
Tree = dict[str, Entry]  # by path from the root, without a leading slash: "sys/bus/pci/devices/0000:53:00.0"


def text(value: object, mode: int = 0o444, acts: Acts | None = None) -> File:
    """Return a file of one line."""
    return File(f"{value}\n".encode(), mode, acts)


def knob(store: str, subject: str = "", mode: int = 0o200) -> File:
    """Return a file that is only written."""
    return File(b"", mode, Acts(store, subject))


def folders(paths: Iterable[str]) -> set[str]:
    """Return every folder that these paths need, the root excluded."""
    parents = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
    return parents - {"."}


def below(tree: Tree, folder: str) -> Tree:
    """Return the part of a tree inside `folder`, with paths from there."""
    start = f"{folder}/"
    return {path.removeprefix(start): entry for path, entry in tree.items() if path.startswith(start)}


def up_from(folder: str, target: str) -> str:
    """Return the relative link text from inside `folder` to `target`, both from the same root.

    As the kernel's sysfs does it: up to the first shared folder, then down; the target's own name is always said.
    """
    here, there = folder.split("/"), target.split("/")
    shared = 0
    while shared < min(len(here), len(there) - 1) and here[shared] == there[shared]:
        shared += 1
    return "/".join([".."] * (len(here) - shared) + there[shared:])
