"""A node's files in this process: read, write, list as on a real host, without mounting anything.

    files = HostDoor(model)
    files.write("/sys/bus/pci/drivers/vfio-pci/bind", b"0000:53:00.0")

Every refusal is an OSError with the errno of the kernel. The caller is root. What would block in the kernel (an
unbind while the device is in use) is refused with EAGAIN, and nothing has changed; a door made with `wait_seconds`
waits that long for the users to go.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from itertools import count

from claimwright.emulator.files.acting import is_waiting
from claimwright.emulator.files.faces import standing_alone
from claimwright.emulator.files.hosting import HostFiles, check_open
from claimwright.emulator.files.majors import Majors
from claimwright.emulator.files.open_devices import OpenDevice, open_device
from claimwright.emulator.files.paths import resolve
from claimwright.emulator.files.tree import CharDevice, Dir, Entry, File, Link
from claimwright.emulator.model import NodeModel

PAGE_BYTES = 4096
_TOKENS = count(1 << 32)  # holders of device nodes: no process has such an id


class OpenHostFile:
    """An open file of a node; `close` it."""

    def __init__(self, door: HostDoor, path: str, flags: int) -> None:
        self._door, self._path, self._access, self._at = door, path, flags & os.O_ACCMODE, 0
        self._shown = b""

    def read(self, size: int) -> bytes:
        """Read on where the last read ended; empty at the end. ENODEV once the file's object is gone."""
        if self._access == os.O_WRONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), self._path)
        entry = self._door.files.entry(self._path)
        if not isinstance(entry, File):
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), self._path)
        if self._at == 0:
            self._shown = entry.content  # as a seq_file: a change between two reads tears nothing
        part = self._shown[self._at : self._at + size]
        self._at += len(part)
        return part

    def write(self, data: bytes) -> int:
        """Make one store; offsets mean nothing."""
        if self._access == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), self._path)
        return self._door.store(self._path, data)

    def ioctl(self, request: str, _argument: object = None) -> None:
        """Refuse: no attribute takes any."""
        raise OSError(errno.ENOTTY, f"{request}: {os.strerror(errno.ENOTTY)}", self._path)

    def close(self) -> None:
        """Let it go."""


class HostDoor:
    """The files of one model; several doors of one model agree. Thread-safe."""

    def __init__(self, model: NodeModel, *, majors: Majors | None = None, wait_seconds: float = 0.0) -> None:
        self.model = model
        self.files = HostFiles(model, standing_alone(majors or Majors()))
        self._wait_seconds = wait_seconds

    def read(self, path: str) -> bytes:
        """Return a file's content."""
        opened = self.open(path, os.O_RDONLY)
        try:
            return b"".join(iter(lambda: opened.read(PAGE_BYTES), b""))
        finally:
            opened.close()

    def write(self, path: str, data: bytes, *, truncate: bool = False) -> int:
        """Hand over data in one write to a file that exists; return the bytes accepted."""
        opened = self.open(path, os.O_WRONLY | (os.O_TRUNC if truncate else 0))
        try:
            return opened.write(data)
        finally:
            opened.close()

    def readlink(self, path: str) -> str:
        """Return a link's text; EINVAL when it is none."""
        found = self._entry(resolve(self.files, path, follow_last=False), path)
        if not isinstance(found, Link):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        return found.target

    def list(self, path: str) -> list[str]:
        """Return the names in a folder, sorted."""
        place = resolve(self.files, path)
        if not isinstance(self._entry(place, path), Dir):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return sorted(self.files.children(place))

    def stat(self, path: str, *, follow_symlinks: bool = True) -> os.stat_result:
        """Return mode, size and device numbers."""
        place = resolve(self.files, path, follow_last=follow_symlinks)
        return stat_of(place, self._entry(place, path))

    def open(self, path: str, flags: int) -> OpenHostFile | OpenDevice:
        """Open a file or a device node; an opened GPU or VFIO node has a user from then on."""
        try:
            place = resolve(self.files, path)
        except FileNotFoundError:
            if flags & os.O_CREAT and path.startswith("/sys/"):
                raise OSError(errno.EACCES, os.strerror(errno.EACCES), path) from None
            raise
        entry = self._entry(place, path)
        if isinstance(entry, Dir) and flags & os.O_ACCMODE != os.O_RDONLY:
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        check_open(place, entry, flags)
        if isinstance(entry, CharDevice):
            return open_device(self.model, place, next(_TOKENS))
        if isinstance(entry, Dir):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        return OpenHostFile(self, place, flags)

    def store(self, place: str, data: bytes) -> int:
        """Write to a resolved path, waiting for users where this door waits."""
        written = self.files.write(place, data, may_wait=self._wait_seconds > 0)
        if written.waits is None:
            return written.count
        gone = threading.Event()
        address = written.waits
        leave = self.model.subscribe(lambda state: None if is_waiting(state, address) else gone.set())
        try:
            if not gone.wait(self._wait_seconds):
                raise OSError(errno.EAGAIN, f"{address} is still in use after {self._wait_seconds} s", place)
        finally:
            leave()
        return written.count

    def _entry(self, place: str, path: str) -> Entry:
        found = self.files.entry(place)
        if found is None:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return found


def stat_of(place: str, entry: Entry) -> os.stat_result:
    """Return what stat(2) says: attributes have the size of a page, whatever they hold (sysfs), procfs files 0."""
    number = os.makedev(entry.major, entry.minor) if isinstance(entry, CharDevice) else 0
    mode, size = mode_and_size(place, entry)
    links = 2 if isinstance(entry, Dir) else 1
    fields = (mode, 0, 0, links, 0, 0, size, 0, 0, 0)
    return os.stat_result(fields, {"st_rdev": number})


def mode_and_size(place: str, entry: Entry) -> tuple[int, int]:
    """Return st_mode and st_size."""
    match entry:
        case Dir(mode):
            return stat.S_IFDIR | mode, 0
        case Link():
            return stat.S_IFLNK | 0o777, 0
        case CharDevice(_, _, mode):
            return stat.S_IFCHR | mode, 0
        case File(content, mode, _, size):
            if size is not None:
                return stat.S_IFREG | mode, size
            if place.endswith("/config"):
                return stat.S_IFREG | mode, len(content)
            return stat.S_IFREG | mode, PAGE_BYTES if place.startswith("sys/") else 0
