"""Attach a node's files to a mount namespace, as root, and undo it.

What was attached is recorded before the first mount, by namespace inode and label, so that `detach` works
after a kill at any point; mounts are found again by their label in the namespace's own mount table. When the
last process of a namespace ends, the kernel takes everything down by itself.
"""

from __future__ import annotations

import fcntl
import json
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from claimwright.dra.files import write_atomically
from claimwright.emulator.errors import MountRefused
from claimwright.emulator.files.majors import Majors, free_majors
from claimwright.emulator.files.mount_jobs import AttachJob, DetachJob
from claimwright.emulator.files.mount_worker import device_numbers
from claimwright.emulator.files.plain import PlainTree
from claimwright.emulator.files.procfs import devices as proc_devices
from claimwright.emulator.files.tree import Tree, below

_SECONDS = 20.0
_NS_GET_NSTYPE, _CLONE_NEWNS = 0xB703, 0x00020000  # linux/nsfs.h, linux/sched.h


@dataclass(frozen=True, slots=True)
class Attachment:
    """Where a node is attached: namespace by path and inode, label, and the nodes made in its /dev."""

    namespace: str
    inode: int
    label: str
    devices: tuple[tuple[str, int], ...]

    @classmethod
    def read(cls, record: Path) -> Attachment | None:
        """Return what a record says, None when nothing was ever attached."""
        try:
            said = json.loads(record.read_text())
        except FileNotFoundError:
            return None
        devices = tuple((path, number) for path, number in said["devices"])
        return cls(said["namespace"], said["inode"], said["label"], devices)

    def write(self, record: Path) -> None:
        """Put it on record, for whoever has to undo it."""
        write_atomically(record, json.dumps(asdict(self)), mode=0o600)


class Attached:
    """A namespace's emulated trees, open to follow changes; the namespace itself may end."""

    def __init__(
        self, attachment: Attachment, handles: Mapping[str, int], shown: Tree, *, record: Path
    ) -> None:
        self.attachment = attachment
        self._record = record
        self._handles = handles
        self._trees = {
            point: PlainTree(
                Path(f"/proc/self/fd/{handle}"), real_devices=point == "dev", shown=below(shown, point)
            )
            for point, handle in handles.items()
        }

    def show(self, tree: Tree) -> None:
        """Make the attached files say what `tree` says; nodes are on record before they are made."""
        if new := set(device_numbers(tree)) - set(self.attachment.devices):
            devices = (*self.attachment.devices, *sorted(new))
            self.attachment = replace(self.attachment, devices=devices)
            self.attachment.write(self._record)
        for point, plain in self._trees.items():
            plain.show(below(tree, point))

    def close(self) -> None:
        """Let go of the trees; the mounts stay."""
        for handle in self._handles.values():
            os.close(handle)


def attach(label: str, tree: Tree, devices: Tree, listing: str, *, namespace: Path, record: Path) -> Attached:
    """Add `tree` (sys/ and proc/) and `devices` (dev/) to a namespace, and put `listing` at /proc/devices.

    MountRefused leaves the namespace as it was.
    """
    inode = _mount_namespace_inode(namespace)
    if inode == Path("/proc/self/ns/mnt").stat().st_ino:
        raise MountRefused(f"{namespace} is the mount namespace of this machine, not of a node")
    attachment = Attachment(os.fspath(namespace), inode, label, device_numbers(devices))
    attachment.write(record)
    handles = _work(AttachJob(attachment.namespace, label, tree, devices, listing))
    return Attached(attachment, handles, tree | devices, record=record)


def detach(attachment: Attachment) -> None:
    """Undo an attachment, whole or half; a namespace that is gone needs nothing. Idempotent."""
    if (namespace := _find(attachment)) is not None:
        _work(DetachJob(namespace, attachment.label, attachment.devices))


def machine_majors() -> Majors:
    """Return majors that are free on this machine; MountRefused when it runs a real NVIDIA driver."""
    return free_majors(_machine_listing())


def machine_listing(majors: Majors, *, nvswitch: bool) -> str:
    """Return this machine's /proc/devices with the emulated ones in it."""
    return proc_devices(_machine_listing(), majors, nvswitch=nvswitch)


def first_free_iommu_group() -> int:
    """Return the group number after the machine's last one."""
    groups = Path("/sys/kernel/iommu_groups")
    numbers = (
        [int(group.name) for group in groups.iterdir() if group.name.isdigit()] if groups.is_dir() else []
    )
    return max(numbers, default=-1) + 1


def _machine_listing() -> str:
    return Path("/proc/devices").read_text()


def _mount_namespace_inode(path: Path) -> int:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if fcntl.ioctl(handle, _NS_GET_NSTYPE) == _CLONE_NEWNS:
                return os.fstat(handle).st_ino
            reason = "a namespace of another type"
        finally:
            os.close(handle)
    except OSError as error:
        reason = error.strerror or str(error)
    raise MountRefused(
        f"{path} is no mount namespace ({reason}); expected /proc/PID/ns/mnt, or a bind mount of one"
    )


def _find(attachment: Attachment) -> str | None:
    """Return a path to the namespace: the recorded one, or that of any process that still lives in it."""
    for place in (Path(attachment.namespace), *Path("/proc").glob("[0-9]*/ns/mnt")):
        try:
            if place.stat().st_ino == attachment.inode:
                return os.fspath(place)
        except OSError:
            continue  # that process is gone, or the recorded path is
    return None


def _work(job: AttachJob | DetachJob) -> dict[str, int]:
    """Run a worker; return the descriptors it sent, by folder. MountRefused says what it could not do."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(_SECONDS)
        worker = subprocess.Popen(
            [sys.executable, "-m", "claimwright.emulator.files.mount_worker", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        try:
            ours.sendall(pickle.dumps(job))
            ours.shutdown(socket.SHUT_WR)
            answer, handles, _flags, _sender = socket.recv_fds(ours, 65536, 16)
        except TimeoutError:
            raise MountRefused(f"{job.namespace}: mounting took longer than {_SECONDS:.0f} s") from None
        finally:
            _end(worker)
    if not answer.startswith(b"\0"):
        raise MountRefused(f"{job.namespace}: {answer.decode(errors='replace') or 'the mount worker died'}")
    return dict(zip(answer[1:].decode().split("\n"), handles, strict=True)) if handles else {}


def _end(worker: subprocess.Popen[bytes]) -> None:
    try:
        worker.wait(timeout=1)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()
