"""The system calls that Python 3.11 lacks: mount(2), umount2(2), setns(2). Standard library only."""

from __future__ import annotations

import ctypes
import os
from enum import IntFlag

_CLONE_NEWNS = 0x00020000


class MountFlag(IntFlag):
    """`MS_*` of sys/mount.h."""

    NOSUID = 0x2
    NODEV = 0x4
    NOEXEC = 0x8
    BIND = 0x1000
    MOVE = 0x2000
    REC = 0x4000
    PRIVATE = 0x40000


NONE = MountFlag(0)


def mount(source: str, target: str, kind: str = "", flags: MountFlag = NONE, options: str = "") -> None:
    """Mount or bind a source; OSError names the target."""
    arguments = (
        os.fsencode(source),
        os.fsencode(target),
        kind.encode(),
        ctypes.c_ulong(flags),
        options.encode(),
    )
    _check(_libc().mount(*arguments), target)


def unmount(target: str) -> None:
    """Take the last mount off a target (MNT_DETACH); what is in use stays usable."""
    _check(_libc().umount2(os.fsencode(target), 2), target)


def enter_mount_namespace(handle: int) -> None:
    """Move this process into a namespace (setns(2)): it must have one thread."""
    _check(_libc().setns(handle, _CLONE_NEWNS), f"mount namespace (descriptor {handle})")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, target: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)
