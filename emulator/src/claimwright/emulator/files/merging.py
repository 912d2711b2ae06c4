"""Compose a folder that has all of a real one and the emulated entries beside them, and put it in its place.

One mount per folder, of a tmpfs or of the node's FUSE file system. It has a place for every real child, into which that
is bound (links are copied: they are relative, and stay true in the same place), and the emulated entries. The whole
is then moved over the real folder in one step, so that nobody sees half of it. Only the children of folders that both
sides have are bound one by one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from claimwright.emulator.errors import MountRefused
from claimwright.emulator.files.syscalls import MountFlag, mount
from claimwright.emulator.files.tree import Dir, Entry, File, Link, Tree, below, folders


def mount_tmpfs(target: str, label: str, *, devices: bool = False) -> None:
    """Mount a private, labelled tmpfs."""
    flags = MountFlag.NOSUID | MountFlag.NOEXEC | (MountFlag(0) if devices else MountFlag.NODEV)
    mount(label, target, "tmpfs", flags, "mode=0755")
    mount(
        "", target, flags=MountFlag.PRIVATE
    )  # a mount cannot be moved out of a shared one (mount(2), EINVAL)


def found(folder: str, real: str, tree: Tree, hidden: frozenset[str] = frozenset()) -> Tree:
    """Return the places that the real folder's children need beside the emulated entries of `folder`.

    `real` is where the folder is. Links are whole; an empty file or folder is a place to bind one to. Paths are from
    the root. MountRefused when both sides have one entry.
    """
    return dict(_found(folder, real, tree, hidden))


def _found(folder: str, real: str, tree: Tree, hidden: frozenset[str]) -> Iterator[tuple[str, Entry]]:
    inside = set(below(tree, folder)) | folders(below(tree, folder))
    with os.scandir(real) as children:
        for child in children:
            path = f"{folder}/{child.name}"
            shared = child.name in inside
            if path in hidden:
                continue
            if shared:
                _check_shared(path)
            if child.is_symlink():
                if not shared:
                    yield path, Link(os.fspath(Path(child.path).readlink()))
            elif child.is_dir():
                if shared:
                    yield from _found(path, child.path, tree, hidden)
                else:
                    yield path, Dir()
            elif not shared:
                yield path, File(b"")


def bind_real(folder: str, real: str, target: str, places: Tree) -> None:
    """Bind the real children to their places in a composed folder."""
    for path, entry in below(places, folder).items():
        if isinstance(entry, Dir):
            mount(f"{real}/{path}", f"{target}/{path}", flags=MountFlag.BIND | MountFlag.REC)
        elif isinstance(entry, File):
            mount(f"{real}/{path}", f"{target}/{path}", flags=MountFlag.BIND)


def _check_shared(path: str) -> None:
    """Refuse an entry that both sides have, unless it lies where both may."""
    if path.startswith(("sys/devices/pci", "sys/bus/pci/devices/")):
        raise MountRefused(
            f"/{path} exists on this machine: real and emulated hardware would mix; "
            "use a node profile with other PCI buses"
        )
