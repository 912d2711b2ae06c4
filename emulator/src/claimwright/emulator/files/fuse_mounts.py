"""FUSE mounts, for callers that serve none themselves: whether they can be made, making one, and leftovers."""

from __future__ import annotations

import os
from pathlib import Path

from claimwright.emulator.files.mountinfo import read_mounts
from claimwright.emulator.files.syscalls import MountFlag, mount, unmount

DEVICE = Path("/dev/fuse")
_CAP_SYS_ADMIN = 21  # linux/capability.h


def usable() -> str | None:
    """Say why this process cannot mount FUSE; None when it can."""
    if os.geteuid() != 0:
        return "mounting FUSE needs root here"
    if not _may_mount():
        return "this root may not mount: it lacks CAP_SYS_ADMIN"
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"{DEVICE} cannot be opened ({error.strerror}): is the fuse module loaded?"
    return None


def mount_fuse(handle: int, target: str, label: str) -> None:
    """Mount the connection of a /dev/fuse descriptor; all users see it, modes are checked by the server."""
    flags = MountFlag.NOSUID | MountFlag.NODEV | MountFlag.NOEXEC
    mount(label, target, "fuse", flags, f"fd={handle},rootmode=40755,user_id=0,group_id=0,allow_other")


def unmount_leftovers(folder: Path) -> None:
    """Take off every mount below a folder, newest first: what a killed process left."""
    inside = [each.target for each in read_mounts() if Path(each.target).is_relative_to(folder)]
    for target in reversed(inside):
        unmount(target)


def _may_mount() -> bool:
    status = Path("/proc/self/status").read_text().splitlines()
    effective = next(line.split()[1] for line in status if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> _CAP_SYS_ADMIN & 1)
