"""Remove a local cluster, however far it came and whatever died before."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

from claimwright.cluster import errors, processes
from claimwright.cluster.local import cgroups
from claimwright.cluster.local.journal import Journal
from claimwright.cluster.progress import Progress

_API_SERVER_GRACE_SECONDS = 3.0
_SCAN_SECONDS = 15.0
_MNT_DETACH = 2


def tear_down(folder: Path, progress: Progress) -> None:
    """End every process of the cluster, then remove its cgroups, mounts and alias; repeatable."""
    journal = Journal.read(folder)
    with progress.step(f"stopping cluster {folder.name}"):
        _end_processes(folder)
        if os.geteuid() == 0:
            cgroups.remove(journal.cgroup, cgroups.mounted())
            _unmount_below(folder)
            alias = Path(journal.alias)
            if alias.is_symlink():
                alias.unlink()


def has_traces(folder: Path) -> bool:
    """Say whether processes or the alias of a cluster are there, with or without its folder."""
    alias = Path(Journal.for_folder(folder).alias)
    return alias.is_symlink() or next(processes.with_marker(os.fspath(folder)), None) is not None


def _end_processes(folder: Path) -> None:
    """Kill everything that carries the cluster's marker.

    First processes of PID namespaces are among them, and with these the kernel ends all that lives inside, so
    containers (which do not carry the marker) need no search. The loop is for what was being forked meanwhile.
    """
    deadline = time.monotonic() + _SCAN_SECONDS
    rooted = os.geteuid() == 0
    while found := list(processes.with_marker(os.fspath(folder))):
        # Without namespaces the components are peers and get a chance to close their files; a namespace's first
        # process ignores SIGTERM, and nothing inside outlives it.
        processes.end(found, grace_seconds=0.0 if rooted else _API_SERVER_GRACE_SECONDS)
        if time.monotonic() > deadline:
            raise errors.NotReady(
                f"processes with {processes.MARKER}={folder} keep appearing: is an `up` running?"
            )


def _unmount_below(folder: Path) -> None:
    """Unmount what lies below the folder in this mount namespace; normally nothing does."""
    libc = ctypes.CDLL(None, use_errno=True)
    inside = f"{folder}/"
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        target = line.split()[4].encode().decode("unicode_escape")
        if target.startswith(inside):
            libc.umount2(os.fsencode(target), _MNT_DETACH)
