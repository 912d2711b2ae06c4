"""The process that enters a mount namespace: `python -m claimwright.emulator.files.mount_worker SOCKET`.

Its work comes over the socket from the node process that started it (see mount_jobs). It ends after one job: a process
that changed its namespace is of no other use.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
from pathlib import Path

from claimwright.emulator.errors import MountRefused
from claimwright.emulator.files.fuse_mounts import mount_fuse
from claimwright.emulator.files.merging import bind_real, found, mount_tmpfs
from claimwright.emulator.files.mount_jobs import (
    AttachJob,
    Connected,
    DetachJob,
    Found,
    Mounted,
    Refused,
    receive,
    send,
)
from claimwright.emulator.files.mountinfo import Mounted as Mount
from claimwright.emulator.files.mountinfo import mount_of, read_mounts
from claimwright.emulator.files.plain import PlainTree
from claimwright.emulator.files.syscalls import MountFlag, enter_mount_namespace, mount, unmount
from claimwright.emulator.files.tree import CharDevice, Tree, below

_BASE = (
    "/proc/driver"  # rarely read, and exists on every Linux: where the others are composed before they move
)
_POINTS = (
    "sys/devices",
    "sys/bus",
    "sys/kernel/iommu_groups",
    "sys/kernel/mm",
    "sys/module",
    "sys/class",
)
_LISTS = ("proc/devices", "proc/modules")


def main(arguments: list[str]) -> int:
    """Do one job."""
    with socket.socket(fileno=int(arguments[0])) as connection:
        job, _ = receive(connection)
        try:
            handles = _attach(job, connection) if isinstance(job, AttachJob) else _detach(job)
        except (OSError, MountRefused) as error:
            send(connection, Refused(str(error)))
            return 1
        except EOFError:
            return 1  # whoever asked is gone, and all is undone
        send(connection, Mounted(tuple(handles)), tuple(handles.values()))
    return 0


def _enter(namespace: str) -> set[int]:
    """Enter the namespace and stand in the /proc of this machine; return the peer groups left behind.

    The namespace may have the /proc of another PID namespace, where this process has no entry: what it asks of
    itself (`self/…`, relative) goes to the one that knows it.
    """
    own = {mounted.peers for mounted in read_mounts() if mounted.peers is not None}
    own_proc = os.open("/proc", os.O_PATH | os.O_CLOEXEC)
    handle = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    enter_mount_namespace(handle)
    os.fchdir(own_proc)  # setns(2) has moved the working directory to the namespace's root
    os.close(own_proc)
    os.close(handle)
    return own


def _mounts() -> list[Mount]:
    return read_mounts(proc=Path())


def _attach(job: AttachJob, connection: socket.socket) -> dict[str, int]:
    outside = _enter(job.namespace)
    _remove(job.label, ())
    points = [point for point in _POINTS if below(job.tree, point) and Path("/", point).is_dir()]
    _check_separate(["/proc", "/dev", *(f"/{point}" for point in points)], outside)
    try:
        return _mount_all(job, points, connection)
    except BaseException:
        _remove(job.label, ())
        raise


def _check_separate(paths: list[str], outside: set[int]) -> None:
    """Refuse when a mount made here would appear outside too."""
    mounts = _mounts()
    for path in paths:
        if (on := mount_of(path, mounts)).peers in outside:
            raise MountRefused(
                f"{on.target} of that namespace propagates to this machine (peer group {on.peers}); "
                "make it private first: mount --make-rprivate /"
            )


def _mount_all(job: AttachJob, points: list[str], connection: socket.socket) -> dict[str, int]:
    """Compose everything below the base, then move each part into its place, the base's own last."""
    real_base = os.open(_BASE, os.O_PATH | os.O_CLOEXEC)
    real = {point: f"/{point}" for point in points} | {"proc/driver": f"self/fd/{real_base}"}
    mount_tmpfs(_BASE, job.label)
    places: Tree = {}
    for point, place in real.items():
        places |= found(point, place, job.tree, job.hidden)
    source = _source(job, places, connection)
    staged = {point: f"{_BASE}/.stage-{index}" for index, point in enumerate(real)}
    for point, stage in staged.items():
        Path(stage).mkdir()
        mount(f"{source}/{point}", stage, flags=MountFlag.BIND)
        bind_real(point, real[point], stage, places)
    for path in _LISTS:
        if path in job.tree and Path("/", path).exists():
            mount(f"{source}/{path}", f"/{path}", flags=MountFlag.BIND)
    _make_devices(job)
    unmount(source)
    for point, stage in staged.items():  # /proc/driver comes last, and covers what is left of the base
        mount(stage, f"/{point}", flags=MountFlag.MOVE)
    os.close(real_base)
    kept = ("dev",) if job.acting else (*staged, "dev")
    return {point: os.open(f"/{point}", os.O_PATH | os.O_CLOEXEC) for point in kept}


def _source(job: AttachJob, places: Tree, connection: socket.socket) -> str:
    """Mount what the folders are parts of: the node's FUSE file system, or a tmpfs with plain files."""
    source = f"{_BASE}/.source"
    Path(source).mkdir()
    if not job.acting:
        mount_tmpfs(source, job.label)
        PlainTree(Path(source)).show(job.tree | places)
        return source
    send(connection, Found(places))
    _, (handle,) = receive(connection)
    mount_fuse(handle, source, job.label)
    mount("", source, flags=MountFlag.PRIVATE)
    os.close(handle)
    send(connection, Connected())
    return source


def _make_devices(job: AttachJob) -> None:
    """Make the nodes in the namespace's own /dev; a /dev that it shares with the machine is covered first."""
    if mount_of("/dev", _mounts()).kind == "devtmpfs":
        stage = f"{_BASE}/.stage-dev"
        Path(stage).mkdir()
        mount_tmpfs(stage, job.label, devices=True)
        places = found("dev", "/dev", {})
        PlainTree(Path(stage)).show(below(places, "dev"))
        bind_real("dev", "/dev", stage, places)
        mount(stage, "/dev", flags=MountFlag.MOVE)
    PlainTree(Path("/dev"), real_devices=True).show(below(job.devices, "dev"))


def _detach(job: DetachJob) -> dict[str, int]:
    _enter(job.namespace)
    _remove(job.label, job.devices)
    return {}


def _remove(label: str, devices: tuple[tuple[str, int], ...]) -> None:
    """Take off every mount of this label, newest first, then the nodes that were made in its own /dev."""
    while ours := _uncovered(label, _mounts()):
        unmount(ours[-1].target)
    for path, device in devices:
        place = Path("/", path)
        found = place.lstat() if os.path.lexists(place) else None
        if found and stat.S_ISCHR(found.st_mode) and found.st_rdev == device:
            place.unlink()
            if place.parent != Path("/dev") and not any(place.parent.iterdir()):
                place.parent.rmdir()


def _uncovered(label: str, mounts: list[Mount]) -> list[Mount]:
    """Return the mounts of a label that nothing else covers: a name leads to the last mount made there."""
    return [each for each in mounts if each.source == label and mount_of(each.target, mounts) == each]


def device_numbers(devices: Tree) -> tuple[tuple[str, int], ...]:
    """Return path and device number of every node of a tree."""
    found = ((path, node) for path, node in devices.items() if isinstance(node, CharDevice))
    return tuple((path, os.makedev(node.major, node.minor)) for path, node in found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
