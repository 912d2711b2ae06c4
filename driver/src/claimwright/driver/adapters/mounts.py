"""Mounts by the kernel."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8  # linux/mount.h
_MNT_DETACH = 2


class KernelMounts:
    """Mounts in this process' own mount namespace."""

    @property
    def possible(self) -> bool:
        """Whether this process is root."""
        return os.geteuid() == 0

    def tmpfs(self, folder: Path, *, kibibytes: int) -> None:
        """Mount a tmpfs over `folder` unless something is mounted there."""
        if folder.is_mount():
            return
        library = ctypes.CDLL(None, use_errno=True)
        flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
        options = f"size={kibibytes}k,mode=1777".encode()
        if library.mount(b"shm", os.fsencode(folder), b"tmpfs", flags, options):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))

    def unmount(self, folder: Path) -> None:
        """Unmount all that is mounted at `folder`."""
        library = ctypes.CDLL(None, use_errno=True)
        while folder.is_mount():
            if library.umount2(os.fsencode(folder), _MNT_DETACH):
                if ctypes.get_errno() == errno.EINVAL:
                    return
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
