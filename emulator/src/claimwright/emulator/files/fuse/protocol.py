"""The messages of FUSE (include/uapi/linux/fuse.h, protocol 7.31): structures, opcodes, and how to answer."""

from __future__ import annotations

import os
import stat
import struct
from enum import IntEnum

from claimwright.emulator.files.door import mode_and_size
from claimwright.emulator.files.tree import CharDevice, Entry

MAJOR, MINOR = 7, 31
MOST_WRITE_BYTES = 8192  # a store takes a page; a longer write comes short, as in sysfs
BUFFER_BYTES = MOST_WRITE_BYTES + 8192
ROOT_NODE = 1

IN_HEADER = struct.Struct("<IIQQIIIHH")  # len opcode unique nodeid uid gid pid extension padding
OUT_HEADER = struct.Struct("<IiQ")
INIT_IN = struct.Struct("<IIII")
_INIT_OUT = struct.Struct("<IIIIHHIIHHI28x")
_ATTRIBUTES = struct.Struct("<QQQQQQIIIIIIIIII")
_ENTRY = struct.Struct("<QQQQII")
_GETATTR_OUT = struct.Struct("<QII")
OPEN_IN = struct.Struct("<II")
OPEN_OUT = struct.Struct("<QII")
READ_IN = struct.Struct("<QQIIQII")
WRITE_IN = struct.Struct("<QQIIQII")
RELEASE_IN = struct.Struct("<Q")
WRITE_OUT = struct.Struct("<II")
SETATTR_IN = struct.Struct("<II")
INTERRUPT_IN = struct.Struct("<Q")
ACCESS_IN = struct.Struct("<II")
_STATFS_OUT = struct.Struct("<QQQQQIIII24x")
_DIRENT = struct.Struct("<QQII")

_ATOMIC_O_TRUNC, _BIG_WRITES, _PARALLEL_DIROPS = 1 << 3, 1 << 5, 1 << 18
DIRECT_IO = 1  # FOPEN_DIRECT_IO: every read asks again, whatever stat said of the size
# FOPEN_PARALLEL_DIRECT_WRITES (Linux 6.2): a writer that waits does not keep others from the same file, as in sysfs.
PARALLEL_WRITES = 1 << 6
_FOREVER = 1 << 31
_FATTR_MODE_OR_OWNER = 0b111


class Opcode(IntEnum):
    """`enum fuse_opcode`, those that are answered."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    INIT = 26
    ACCESS = 34
    CREATE = 35
    INTERRUPT = 36
    BATCH_FORGET = 42
    RENAME2 = 45


def init_reply(flags: int, readahead: int) -> bytes:
    """Agree on what the kernel offers and is of use here."""
    agreed = flags & (_ATOMIC_O_TRUNC | _BIG_WRITES | _PARALLEL_DIROPS)
    return _INIT_OUT.pack(MAJOR, MINOR, readahead, agreed, 16, 12, MOST_WRITE_BYTES, 1, 0, 0, 0)


def entry_reply(node: int, path: str, entry: Entry) -> bytes:
    """Answer a lookup.

    The name stays valid for good and the attributes not at all: whatever is done with the node comes here, and is
    answered by what is at its path then.
    """
    return _ENTRY.pack(node, 0, _FOREVER, 0, 0, 0) + attributes(node, path, entry)


def attributes_reply(node: int, path: str, entry: Entry) -> bytes:
    """Answer a request for attributes."""
    return _GETATTR_OUT.pack(0, 0, 0) + attributes(node, path, entry)


def attributes(node: int, path: str, entry: Entry) -> bytes:
    """Return `struct fuse_attr`; everything belongs to root."""
    mode, size = mode_and_size(path, entry)
    device = os.makedev(entry.major, entry.minor) if isinstance(entry, CharDevice) else 0
    links = 2 if stat.S_ISDIR(mode) else 1
    return _ATTRIBUTES.pack(node, size, 0, 0, 0, 0, 0, 0, 0, mode, links, 0, 0, device, 4096, 0)


def statfs_reply() -> bytes:
    """Answer statfs: nothing is stored here."""
    return _STATFS_OUT.pack(0, 0, 0, 0, 0, 4096, 255, 4096, 0)


def changes_mode_or_owner(valid: int) -> bool:
    """Tell whether a SETATTR is a chmod or chown; a truncation is none."""
    return bool(valid & _FATTR_MODE_OR_OWNER)


def directory(names: list[tuple[str, int]], offset: int, size: int) -> bytes:
    """Return directory entries (name, st_mode) from an offset, as many as fit."""
    out = bytearray()
    for index in range(offset, len(names)):
        name, mode = names[index]
        raw = name.encode()
        padded = _DIRENT.size + len(raw) + 7 & ~7
        if len(out) + padded > size:
            break
        record = _DIRENT.pack(index + 2, index + 1, len(raw), stat.S_IFMT(mode) >> 12) + raw
        out += record.ljust(padded, b"\0")
    return bytes(out)
