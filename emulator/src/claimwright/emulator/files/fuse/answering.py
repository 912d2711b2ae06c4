"""What each FUSE request is answered with: bytes, or an OSError; `Blocked` where the answer comes later."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from claimwright.emulator.files.door import mode_and_size
from claimwright.emulator.files.fuse import protocol
from claimwright.emulator.files.fuse.protocol import Opcode
from claimwright.emulator.files.hosting import HostFiles, check_open
from claimwright.emulator.files.tree import Dir, Entry, File, Link
from claimwright.emulator.model.pci import PciAddress

_READ, _WRITE = 4, 2
_MOST_NAME_BYTES = 255  # NAME_MAX, linux/limits.h


class Blocked(Exception):
    """The writer waits for the users of this function or mediated device; the answer then is `reply`."""

    def __init__(self, waits: PciAddress | str, reply: bytes) -> None:
        super().__init__(str(waits))
        self.waits, self.reply = waits, reply


@dataclass(frozen=True, slots=True)
class Request:
    """One message of the kernel."""

    opcode: int
    node: int
    uid: int
    body: memoryview


class Answers:
    """Answers requests about one tree; node numbers stand for paths, for good."""

    def __init__(self, files: HostFiles) -> None:
        self._files = files
        self._shown: dict[int, bytes] = {}  # by open file: what its reader has begun to read
        self._opened = count(1)
        self._paths: list[str] = ["", ""]  # by node number; 0 is none, 1 the root
        self._nodes: dict[str, int] = {"": protocol.ROOT_NODE}
        self._table: dict[int, Callable[[Request], bytes]] = {
            Opcode.LOOKUP: self._lookup,
            Opcode.GETATTR: self._getattr,
            Opcode.SETATTR: self._setattr,
            Opcode.READLINK: self._readlink,
            Opcode.OPEN: self._open,
            Opcode.READ: self._read,
            Opcode.WRITE: self._write,
            Opcode.OPENDIR: self._opendir,
            Opcode.READDIR: self._readdir,
            Opcode.ACCESS: self._access,
            Opcode.STATFS: lambda _request: protocol.statfs_reply(),
            Opcode.RELEASE: self._release,
            Opcode.RELEASEDIR: lambda _request: b"",
            **{each: _refuse(errno.EACCES) for each in (Opcode.CREATE, Opcode.MKNOD)},
            **{each: _refuse(errno.EPERM) for each in _CHANGES},
        }

    def answer(self, request: Request) -> bytes:
        """Return the body of the answer; OSError its error, Blocked what comes later."""
        handler = self._table.get(request.opcode)
        if handler is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        return handler(request)

    def _lookup(self, request: Request) -> bytes:
        raw = bytes(request.body).rstrip(b"\0")
        if len(raw) > _MOST_NAME_BYTES:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        folder, name = self._paths[request.node], os.fsdecode(raw)
        path = f"{folder}/{name}" if folder else name
        return protocol.entry_reply(self._node(path), path, self._entry(path))

    def _getattr(self, request: Request) -> bytes:
        path = self._paths[request.node]
        return protocol.attributes_reply(request.node, path, self._entry(path))

    def _setattr(self, request: Request) -> bytes:
        """Take a truncation as sysfs does: nothing happens."""
        valid, _padding = protocol.SETATTR_IN.unpack_from(request.body)
        if protocol.changes_mode_or_owner(valid):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        return self._getattr(request)

    def _readlink(self, request: Request) -> bytes:
        entry = self._entry(self._paths[request.node])
        if not isinstance(entry, Link):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return entry.target.encode()

    def _open(self, request: Request) -> bytes:
        flags, _ = protocol.OPEN_IN.unpack_from(request.body)
        path = self._paths[request.node]
        entry = self._entry(path)
        check_open(path, entry, flags)
        access = flags & os.O_ACCMODE
        wanted = (_READ if access != os.O_WRONLY else 0) | (_WRITE if access != os.O_RDONLY else 0)
        _check_mode(path, entry, wanted, request.uid)
        return protocol.OPEN_OUT.pack(next(self._opened), protocol.DIRECT_IO | protocol.PARALLEL_WRITES, 0)

    def _read(self, request: Request) -> bytes:
        """Read on in what the first read saw, as a seq_file does: a change meanwhile tears nothing."""
        handle, offset, size, *_ = protocol.READ_IN.unpack_from(request.body)
        entry = self._files.entry(self._paths[request.node])
        if entry is None:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        if not isinstance(entry, File) or entry.size is not None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if offset == 0:
            self._shown[handle] = entry.content
        return self._shown.get(handle, entry.content)[offset : offset + size]

    def _release(self, request: Request) -> bytes:
        handle, *_ = protocol.RELEASE_IN.unpack_from(request.body)
        self._shown.pop(handle, None)
        return b""

    def _write(self, request: Request) -> bytes:
        _, _offset, size, *_ = protocol.WRITE_IN.unpack_from(request.body)
        data = bytes(request.body[protocol.WRITE_IN.size : protocol.WRITE_IN.size + size])
        written = self._files.write(self._paths[request.node], data, may_wait=True)
        reply = protocol.WRITE_OUT.pack(written.count, 0)
        if written.waits is not None:
            raise Blocked(written.waits, reply)
        return reply

    def _opendir(self, request: Request) -> bytes:
        self._entry(self._paths[request.node])
        return protocol.OPEN_OUT.pack(0, 0, 0)

    def _readdir(self, request: Request) -> bytes:
        _, offset, size, *_ = protocol.READ_IN.unpack_from(request.body)
        folder = self._paths[request.node]
        if not isinstance(self._entry(folder), Dir):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        names: list[tuple[str, int]] = [(".", stat.S_IFDIR), ("..", stat.S_IFDIR)]
        for name in sorted(self._files.children(folder)):
            path = f"{folder}/{name}" if folder else name
            if (entry := self._files.entry(path)) is not None:
                names.append((name, mode_and_size(path, entry)[0]))
        return protocol.directory(names, offset, size)

    def _access(self, request: Request) -> bytes:
        mask, _ = protocol.ACCESS_IN.unpack_from(request.body)
        path = self._paths[request.node]
        _check_mode(path, self._entry(path), mask, request.uid)
        return b""

    def _entry(self, path: str) -> Entry:
        entry = self._files.entry(path)
        if entry is None:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        return entry

    def _node(self, path: str) -> int:
        if path not in self._nodes:
            self._entry(path)  # nothing is remembered of names that lead nowhere
            self._nodes[path] = len(self._paths)
            self._paths.append(path)
        return self._nodes[path]


_CHANGES = (
    Opcode.SYMLINK,
    Opcode.MKDIR,
    Opcode.UNLINK,
    Opcode.RMDIR,
    Opcode.RENAME,
    Opcode.RENAME2,
    Opcode.LINK,
)


def _refuse(number: int) -> Callable[[Request], bytes]:
    def refuse(_request: Request) -> bytes:
        raise OSError(number, os.strerror(number))

    return refuse


def _check_mode(path: str, entry: Entry, wanted: int, uid: int) -> None:
    """Check what somebody who is not root may do with root's file."""
    mode, _size = mode_and_size(path, entry)
    if uid != 0 and wanted & ~mode & 0o7:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), path)
