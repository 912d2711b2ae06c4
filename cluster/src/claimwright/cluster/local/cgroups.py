"""A cgroup sub-tree per node in every hierarchy: version 1, hybrid and version 2.

The kubelet is given one path (`cgroupRoot`) that must exist in each hierarchy; cgroups(7) and the kernel's
admin-guide/cgroup-v1/cpusets: a new cpuset is unusable until its cpus and mems are set.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from claimwright.cluster import errors

_PARENT = "claimwright"
_REMOVE_SECONDS = 10.0
_V2_CONTROLLERS = ("cpuset", "cpu", "io", "memory", "pids")


@dataclass(frozen=True)
class Hierarchy:
    """One mounted cgroup hierarchy; `version` 2 has no controllers listed."""

    folder: Path
    version: int
    controllers: frozenset[str] = frozenset()


def hierarchies(mountinfo: str) -> list[Hierarchy]:
    """Read the hierarchies out of /proc/self/mountinfo (proc_pid_mountinfo(5)); one mounted twice counts once."""
    found: dict[str, Hierarchy] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind not in {"cgroup", "cgroup2"}:
            continue
        _, _, device, root, target = left.split()[:5]
        if root != "/":
            continue
        controllers = frozenset(options.split(",")) if kind == "cgroup" else frozenset()
        found.setdefault(device, Hierarchy(Path(target), 2 if kind == "cgroup2" else 1, controllers))
    return list(found.values())


def mounted() -> list[Hierarchy]:
    """Return the hierarchies of this machine."""
    return hierarchies(Path("/proc/self/mountinfo").read_text())


def cluster_path(identity: str) -> str:
    """Return the cgroup of a whole cluster, below which its nodes are; `identity` is unique on the machine."""
    return f"/{_PARENT}-{identity}"


def make(path: str, trees: list[Hierarchy]) -> None:
    """Make `path` in every hierarchy, usable for containers."""
    alone = len(trees) == 1
    for tree in trees:
        current = tree.folder
        for part in Path(path.lstrip("/")).parts:
            if tree.version == 2 and alone:
                _delegate(current)
            current = current / part
            current.mkdir(exist_ok=True)
            if "cpuset" in tree.controllers:
                _copy_cpuset(current)


def add_process(path: str, pid: int, trees: list[Hierarchy]) -> None:
    """Move a process, and so what it will start, into `path` of every hierarchy."""
    for tree in trees:
        (tree.folder / path.lstrip("/") / "cgroup.procs").write_text(str(pid))


def remove(path: str, trees: list[Hierarchy]) -> None:
    """End what still runs in `path` and remove it from every hierarchy; what is not there is fine."""
    deadline = time.monotonic() + _REMOVE_SECONDS
    for tree in trees:
        top = tree.folder / path.lstrip("/")
        while top.exists() and not _try_remove(top):
            if time.monotonic() > deadline:
                raise errors.NotReady(
                    f"cgroup {top} cannot be removed: see {top}/cgroup.procs for who is in it"
                )
            time.sleep(0.02)


def members(path: str, trees: list[Hierarchy]) -> set[int]:
    """Return the processes in `path` and below, over all hierarchies."""
    found: set[int] = set()
    for tree in trees:
        for folder in _bottom_up(tree.folder / path.lstrip("/")):
            found |= _processes(folder)
    return found


def _delegate(folder: Path) -> None:
    available = (folder / "cgroup.controllers").read_text().split()
    wanted = " ".join(f"+{name}" for name in _V2_CONTROLLERS if name in available)
    try:
        (folder / "cgroup.subtree_control").write_text(wanted)
    except OSError as error:
        # cgroup v2 has no processes in inner nodes: a container's root cgroup is one, and its init sits in it.
        if error.errno != errno.EBUSY:
            raise
        raise errors.PrivilegeNeeded(
            f"{folder} has processes of its own, so its controllers cannot be given to nodes (cgroup v2): move them"
            f" into a child, such as {folder}/init, and try again"
        ) from error


def _copy_cpuset(folder: Path) -> None:
    for name in ("cpuset.cpus", "cpuset.mems"):
        if not (folder / name).read_text().strip():
            (folder / name).write_text((folder.parent / name).read_text())


def _try_remove(top: Path) -> bool:
    for folder in _bottom_up(top):
        for pid in _processes(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            folder.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True


def _bottom_up(top: Path) -> Iterator[Path]:
    for name, _, _ in os.walk(top, topdown=False):
        yield Path(name)


def _processes(folder: Path) -> set[int]:
    try:
        return {int(line) for line in (folder / "cgroup.procs").read_text().split()}
    except OSError:
        return set()
