"""A door to a host's files that are mounted at some folder of this machine, such as the emulator's by FUSE."""

from __future__ import annotations

import os
from pathlib import Path

from claimwright.e2e.kernel_lab.door import FileDoor, OpenFile, RealDoor


class MountedDoor:
    """Every path is looked up below `root` through this machine's kernel.

    Device nodes are opened at `devices`: a node in a mounted tree leads to this machine's drivers, which know nothing
    of an emulated device.
    """

    def __init__(self, root: Path, devices: FileDoor) -> None:
        self._root, self._devices, self._real = str(root), devices, RealDoor()

    def read(self, path: str) -> bytes:
        """See FileDoor."""
        return self._real.read(self._root + path)

    def write(self, path: str, data: bytes, *, truncate: bool = False) -> int:
        """See FileDoor."""
        return self._real.write(self._root + path, data, truncate=truncate)

    def readlink(self, path: str) -> str:
        """See FileDoor."""
        return self._real.readlink(self._root + path)

    def list(self, path: str) -> list[str]:
        """See FileDoor."""
        return self._real.list(self._root + path)

    def stat(self, path: str) -> os.stat_result:
        """See FileDoor."""
        return self._real.stat(self._root + path)

    def open(self, path: str, flags: int) -> OpenFile:
        """See FileDoor."""
        if path.startswith("/dev/"):
            return self._devices.open(path, flags)
        return self._real.open(self._root + path, flags)
