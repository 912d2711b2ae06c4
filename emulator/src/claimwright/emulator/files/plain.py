"""Render a tree into a folder, and follow its changes by touching only what differs.

Changed files are replaced by rename, so a reader sees the old content or the new, never half. Device nodes
become real ones where this is asked for (it needs root), else plain files.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from claimwright.emulator.files.tree import CharDevice, Dir, Entry, File, Link, Tree, folders

_BESIDE = ".claimwright-new"


class PlainTree:
    """Keeps a folder equal to a tree; one writer at a time."""

    def __init__(self, root: Path, *, real_devices: bool = False, shown: Tree | None = None) -> None:
        """`shown` is what the folder holds already."""
        self._root = root
        self._real_devices = real_devices
        self._shown: Tree = dict(shown or {})

    def show(self, tree: Tree) -> int:
        """Make the folder say what `tree` says; return how many entries were touched."""
        gone = [path for path in self._shown if path not in tree]
        shown = self._shown
        # By identity first: most entries are the very ones of before, and there are thousands.
        changed = [
            path
            for path, entry in tree.items()
            if (before := shown.get(path)) is not entry and before != entry
        ]
        for path in [*gone, *(path for path in changed if self._turns(path, tree))]:
            self._remove(path)
            self._shown.pop(path)
        self._make_folders(changed)
        for path in changed:
            self._write(path, tree[path])
        self._drop_empty_folders(gone, tree)
        self._shown = dict(tree)
        return len(gone) + len(changed)

    def _turns(self, path: str, tree: Tree) -> bool:
        """Tell whether a folder takes the place of something else, or the other way: no rename does that."""
        return path in self._shown and isinstance(self._shown[path], Dir) != isinstance(tree[path], Dir)

    def _make_folders(self, paths: list[str]) -> None:
        for folder in sorted(folders(paths)):  # sorted: parents come first
            (self._root / folder).mkdir(exist_ok=True)

    def _write(self, path: str, entry: Entry) -> None:
        place = self._root / path
        match entry:
            case Dir(mode):
                place.mkdir(exist_ok=True)
                place.chmod(mode | stat.S_IWUSR)  # its owner must be able to remove it
            case File(content, mode):
                _replace_file(str(place), content, mode, new=path not in self._shown)
            case Link(target) if path not in self._shown:
                place.symlink_to(target)
            case Link(target):
                _replace(place, lambda temporary: temporary.symlink_to(target))
            case CharDevice(_, _, mode) if not self._real_devices:
                _replace_file(str(place), b"", mode, new=path not in self._shown)
            case CharDevice(major, minor, mode):
                _replace(place, lambda temporary: _make_node(temporary, os.makedev(major, minor), mode))

    def _remove(self, path: str) -> None:
        place = self._root / path
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)

    def _drop_empty_folders(self, gone: list[str], tree: Tree) -> None:
        if not gone:
            return
        kept = folders(tree) | {path for path, entry in tree.items() if isinstance(entry, Dir)}
        for folder in sorted(folders(gone) - kept, reverse=True):
            shutil.rmtree(self._root / folder, ignore_errors=True)


def _replace_file(place: str, content: bytes, mode: int, *, new: bool) -> None:
    """Write beside and rename; where nothing is yet, in place (the first render is 3,000 files)."""
    target = place if new else f"{place}{_BESIDE}"
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, content)
        os.fchmod(handle, mode)
    finally:
        os.close(handle)
    if not new:
        os.replace(target, place)  # noqa: PTH105 - strings: this runs thousands of times


def _replace(place: Path, make: Callable[[Path], None]) -> None:
    temporary = place.with_name(f"{place.name}{_BESIDE}")
    temporary.unlink(missing_ok=True)
    make(temporary)
    temporary.replace(place)


def _make_node(place: Path, device: int, mode: int) -> None:
    os.mknod(place, stat.S_IFCHR | mode, device)
    place.chmod(mode)  # mknod applies the umask
