"""Path resolution as the kernel does it, on a tree that is not mounted anywhere."""

from __future__ import annotations

import errno
import os

from claimwright.emulator.files.hosting import HostFiles
from claimwright.emulator.files.tree import Dir, Link

_MOST_LINKS = 40  # MAXSYMLINKS, include/linux/namei.h


def resolve(files: HostFiles, path: str, *, follow_last: bool = True) -> str:
    """Return the path without links, `.` and `..`, and without a leading slash; OSError ENOENT, ENOTDIR or ELOOP."""
    pending = path.split("/")[::-1]
    here: list[str] = []
    links = 0
    while pending:
        step = pending.pop()
        if step in ("", "."):
            continue
        if step == "..":
            here = here[:-1]
            continue
        entry = files.entry("/".join([*here, step]))
        if entry is None:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if isinstance(entry, Link) and (follow_last or any(each for each in pending)):
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            here = [] if entry.target.startswith("/") else here
            pending.extend(entry.target.split("/")[::-1])
            continue
        if not isinstance(entry, Dir) and any(each for each in pending):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        here.append(step)
    return "/".join(here)
