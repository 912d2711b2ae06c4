"""The files of a model as every server of them sees them: looked up when asked, written through to the model."""

from __future__ import annotations

import errno
import os
import threading
from dataclasses import dataclass

from claimwright.emulator.errors import KernelRefused, OperationRefused, Refusal
from claimwright.emulator.files.acting import PAGE_BYTES, Waits, write
from claimwright.emulator.files.parts import PartedTree, Subject
from claimwright.emulator.files.tree import Dir, Entry, File
from claimwright.emulator.model import NodeModel, NodeState

_ERRNOS = {
    Refusal.NO_PERMISSION: errno.EPERM,
    Refusal.NOT_FOUND: errno.ENODEV,
    Refusal.INVALID_ARGUMENT: errno.EINVAL,
    Refusal.NOT_SUPPORTED: errno.EOPNOTSUPP,
    Refusal.IN_USE: errno.EBUSY,
    Refusal.INSUFFICIENT_RESOURCES: errno.ENOSPC,
    Refusal.GPU_IS_LOST: errno.EIO,
}
FOLDER = Dir()


def told(state: NodeState) -> tuple[object, ...]:
    """Return the changing part of a state that files tell: readings such as power are not in files.

    Processes and persistence mode count as users of the driver's module (`refcnt`).
    """
    gpus = tuple(
        (gpu.uuid, gpu.minor, gpu.nvml_visible, gpu.lost, gpu.mig, len(gpu.processes), gpu.persistence_mode)
        for gpu in state.gpus
    )
    vgpus = tuple((each.carrier, each.type_id, each.gpu_instance, each.placement) for each in state.vgpus)
    return gpus, vgpus, state.functions, state.bus, state.mediated, state.hugepages, state.imex_channels


@dataclass(frozen=True, slots=True)
class Written:
    """What a write gave: the bytes accepted, and for whom the writer waits before it may go on."""

    count: int
    waits: Waits = None


class HostFiles:
    """Thread-safe. Paths have no leading slash and no links in them: `sys/devices/pci0000:50/…/enable`."""

    def __init__(self, model: NodeModel, subjects: tuple[Subject, ...]) -> None:
        self.model = model
        self._tree = PartedTree(subjects)
        self._told: tuple[object, ...] | None = None
        self._seen: NodeState | None = None
        self._lock = threading.Lock()

    def entry(self, path: str) -> Entry | None:
        """Return what is at a path, None when nothing is."""
        with self._lock:
            tree = self._present()
            return tree.entries.get(path) or (FOLDER if path in tree.folders else None)

    def children(self, folder: str) -> tuple[str, ...]:
        """Return the names in a folder."""
        with self._lock:
            return tuple(self._present().folders.get(folder, ()))

    def write(self, path: str, data: bytes, *, may_wait: bool) -> Written:
        """Make one store; OSError with the errno that the file's owner answers."""
        entry = self.entry(path)
        if entry is None:
            raise _error(errno.ENODEV, path)  # kernfs: the file was open, its object is gone
        if not isinstance(entry, File) or entry.acts is None:
            raise _error(errno.EIO, path)
        if not data:
            return Written(0)  # sysfs_kf_write: no store is called
        taken = data[:PAGE_BYTES] if path.startswith("sys/") else data
        try:
            waits = self.model.perform(write, entry.acts, taken, may_wait=may_wait)
        except KernelRefused as refused:
            raise _error(refused.errno, path, refused.said) from refused
        except OperationRefused as refused:
            raise _error(_ERRNOS.get(refused.reason, errno.EIO), path, refused.said) from refused
        return Written(len(taken), waits)

    def _present(self) -> PartedTree:
        state = self.model.snapshot()
        if state is not self._seen:
            self._seen, facts = state, told(state)
            if facts != self._told:
                self._tree.follow(state)
                self._told = facts
        return self._tree


def check_open(path: str, entry: Entry, flags: int) -> None:
    """Refuse what open(2) refuses even root: in sysfs an access for which no mode bit is set is EACCES (kernfs)."""
    if not isinstance(entry, File) or not path.startswith("sys/"):
        return
    access = flags & os.O_ACCMODE
    if access in (os.O_WRONLY, os.O_RDWR) and not entry.mode & 0o222:
        raise _error(errno.EACCES, path)
    if access in (os.O_RDONLY, os.O_RDWR) and not entry.mode & 0o444:
        raise _error(errno.EACCES, path)


def _error(number: int, path: str, said: str | None = None) -> OSError:
    return OSError(number, said or os.strerror(number), f"/{path}")
