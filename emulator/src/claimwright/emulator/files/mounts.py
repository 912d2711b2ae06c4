"""Attach a node's files to a mount namespace, as root, and undo it.

What was attached is recorded before the first mount, by namespace inode and label, so that `detach` works
after a kill at any point; mounts are found again by their label in the namespace's own mount table. When the
last process of a namespace ends, the kernel takes everything down by itself.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from claimwright.dra.files import write_atomically
from claimwright.emulator.errors import MountRefused
from claimwright.emulator.files import mount_calls
from claimwright.emulator.files.mount_calls import Connection
from claimwright.emulator.files.mount_jobs import AttachJob, DetachJob
from claimwright.emulator.files.mount_worker import device_numbers
from claimwright.emulator.files.plain import PlainTree
from claimwright.emulator.files.tree import Tree, below

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


def attach(job: AttachJob, *, record: Path, connect: Callable[[Tree], Connection] | None) -> Attached:
    """Add the trees of a job to its namespace; MountRefused leaves that as it was.

    `connect` is for an acting job: see `mount_calls.attached`.
    """
    namespace = Path(job.namespace)
    inode = _mount_namespace_inode(namespace)
    if inode == Path("/proc/self/ns/mnt").stat().st_ino:
        raise MountRefused(f"{namespace} is the mount namespace of this machine, not of a node")
    attachment = Attachment(job.namespace, inode, job.label, device_numbers(job.devices))
    attachment.write(record)
    handles = mount_calls.attached(job, connect)
    return Attached(attachment, handles, job.tree | job.devices, record=record)


def detach(attachment: Attachment) -> None:
    """Undo an attachment, whole or half; a namespace that is gone needs nothing. Idempotent."""
    if (namespace := _find(attachment)) is not None:
        mount_calls.detached(DetachJob(namespace, attachment.label, attachment.devices))


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
