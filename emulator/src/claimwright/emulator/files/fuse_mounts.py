"""Whether FUSE can be mounted, and mounts that a killed process left: for callers that serve none themselves."""

from __future__ import annotations

import os
from pathlib import Path

from claimwright.emulator.files.mountinfo import read_mounts
from claimwright.emulator.files.syscalls import unmount

DEVICE = Path("/dev/fuse")


def usable() -> str | None:
    """Say why this process cannot mount FUSE; None when it can."""
    if os.geteuid() != 0:
        return "mounting FUSE needs root here"
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return f"{DEVICE} cannot be opened: is the fuse module loaded?"
    return None


def unmount_leftovers(folder: Path) -> None:
    """Take off every mount below a folder, newest first: what a killed process left."""
    inside = [each.target for each in read_mounts() if Path(each.target).is_relative_to(folder)]
    for target in reversed(inside):
        unmount(target)
