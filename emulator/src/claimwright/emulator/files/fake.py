"""Put a tree into pyfakefs, for unit tests of code that reads host files; the caller brings pyfakefs."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from claimwright.emulator.files.tree import CharDevice, Dir, File, Link, Tree

if TYPE_CHECKING:
    from pyfakefs.fake_filesystem import FakeFilesystem


def create(filesystem: FakeFilesystem, tree: Tree, root: str = "/") -> None:
    """Create every entry below `root`; device nodes have the type of one, but open as files."""
    for path, entry in tree.items():
        place = f"{root.rstrip('/')}/{path}"
        match entry:
            case Dir(mode):
                if not filesystem.exists(place):
                    filesystem.create_dir(place)
                    filesystem.chmod(place, mode)
            case File(content, mode):
                filesystem.create_file(place, st_mode=stat.S_IFREG | mode, contents=content)
            case Link(target):
                filesystem.create_symlink(place, target)
            case CharDevice(_, _, mode):
                filesystem.create_file(place, st_mode=stat.S_IFCHR | mode)
