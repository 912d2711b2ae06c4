"""The door to a host's files: the few system calls that an operation is made of, and the real ones.

Paths are those of a real host (`/sys/bus/pci/...`, `/dev/vfio/7`), whatever serves them. Every refusal is an
OSError with the kernel's errno. The emulator serves the same door in-process and through FUSE.
"""

from __future__ import annotations

import fcntl
import os
import struct
from enum import StrEnum
from typing import Protocol

_READ_BYTES = 1 << 16
_VFIO = 0x3B64  # _IO(';', 100), include/uapi/linux/vfio.h


class Request(StrEnum):
    """The ioctls of VFIO that decide who holds a device, by their names in include/uapi/linux/vfio.h."""

    GET_API_VERSION = "VFIO_GET_API_VERSION"
    SET_IOMMU = "VFIO_SET_IOMMU"
    GROUP_GET_STATUS = "VFIO_GROUP_GET_STATUS"
    GROUP_SET_CONTAINER = "VFIO_GROUP_SET_CONTAINER"
    GROUP_UNSET_CONTAINER = "VFIO_GROUP_UNSET_CONTAINER"
    GROUP_GET_DEVICE_FD = "VFIO_GROUP_GET_DEVICE_FD"
    DEVICE_BIND_IOMMUFD = "VFIO_DEVICE_BIND_IOMMUFD"


class OpenFile(Protocol):
    """An open file description."""

    def read(self, size: int, /) -> bytes:
        """Make one read call where the last one ended."""

    def write(self, data: bytes, /) -> int:
        """Hand over `data` in one write call; sysfs takes each as a whole new value."""

    def ioctl(self, request: Request, argument: OpenFile | str | int | None, /) -> OpenFile | str | None:
        """Ask VFIO.

        SET_CONTAINER and BIND_IOMMUFD take the open container or /dev/iommu, GET_DEVICE_FD a device's name and
        gives its open file, SET_IOMMU the type's number; GET_STATUS gives `viable`, `viable container` or ``,
        GET_API_VERSION the number as text.
        """

    def close(self) -> None:
        """Let it go."""


class FileDoor(Protocol):
    """A host's files."""

    def read(self, path: str) -> bytes:
        """Read a file to its end."""

    def write(self, path: str, data: bytes, *, truncate: bool = False) -> int:
        """Hand over `data` in one write call to a file opened for it; return the count it accepted.

        Opened O_WRONLY, with O_TRUNC as well where `truncate` says so.
        May block for as long as the kernel does, such as an unbind while the device is in use.
        """

    def readlink(self, path: str) -> str:
        """Return a link's text."""

    def list(self, path: str) -> list[str]:
        """Return the names in a folder."""

    def stat(self, path: str) -> os.stat_result:
        """Return what is at the end of a path, links followed: mode, size, device numbers of a node."""

    def open(self, path: str, flags: int) -> OpenFile:
        """Return the file opened with these flags of `os.open`."""


class RealFile:
    """A file of this machine's kernel."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def read(self, size: int) -> bytes:
        """See OpenFile."""
        return os.read(self.descriptor, size)

    def write(self, data: bytes) -> int:
        """See OpenFile."""
        return os.write(self.descriptor, data)

    def ioctl(self, request: Request, argument: OpenFile | str | int | None) -> OpenFile | str | None:
        """See OpenFile."""
        return _ioctl(self.descriptor, request, argument)

    def close(self) -> None:
        """See OpenFile."""
        os.close(self.descriptor)


class RealDoor:
    """This machine's own files, through this machine's own kernel."""

    def read(self, path: str) -> bytes:
        """See FileDoor."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            parts = []
            while part := os.read(descriptor, _READ_BYTES):
                parts.append(part)
            return b"".join(parts)
        finally:
            os.close(descriptor)

    def write(self, path: str, data: bytes, *, truncate: bool = False) -> int:
        """See FileDoor."""
        flags = os.O_WRONLY | os.O_CLOEXEC | (os.O_TRUNC if truncate else 0)
        descriptor = os.open(path, flags)
        try:
            return os.write(descriptor, data)
        finally:
            os.close(descriptor)

    def readlink(self, path: str) -> str:
        """See FileDoor."""
        return os.readlink(path)  # noqa: PTH115 - the link's text as it is

    def list(self, path: str) -> list[str]:
        """See FileDoor."""
        return os.listdir(path)  # noqa: PTH208 - strings, as the protocol says

    def stat(self, path: str) -> os.stat_result:
        """See FileDoor."""
        return os.stat(path)  # noqa: PTH116 - strings, as the protocol says

    def open(self, path: str, flags: int) -> RealFile:
        """See FileDoor."""
        return RealFile(os.open(path, flags | os.O_CLOEXEC))


def _ioctl(descriptor: int, request: Request, argument: OpenFile | str | int | None) -> OpenFile | str | None:
    match request:
        case Request.GET_API_VERSION:
            return str(fcntl.ioctl(descriptor, _VFIO + 0))
        case Request.SET_IOMMU if isinstance(argument, int):
            fcntl.ioctl(descriptor, _VFIO + 2, argument)
        case Request.GROUP_GET_STATUS:
            return _group_status(descriptor)
        case Request.GROUP_SET_CONTAINER:
            fcntl.ioctl(descriptor, _VFIO + 4, struct.pack("i", _descriptor_of(argument)))
        case Request.GROUP_UNSET_CONTAINER:
            fcntl.ioctl(descriptor, _VFIO + 5)
        case Request.GROUP_GET_DEVICE_FD:
            return RealFile(_device_descriptor(descriptor, str(argument)))
        case Request.DEVICE_BIND_IOMMUFD:
            # struct vfio_device_bind_iommufd: argsz, flags, iommufd, out_devid
            fcntl.ioctl(descriptor, _VFIO + 18, struct.pack("IIiI", 16, 0, _descriptor_of(argument), 0))
        case _:
            raise TypeError(f"{request} cannot take {argument!r}")
    return None


def _group_status(descriptor: int) -> str:
    # struct vfio_group_status: argsz, flags (1: viable, 2: a container is set)
    flags = struct.unpack("II", fcntl.ioctl(descriptor, _VFIO + 3, struct.pack("II", 8, 0)))[1]
    return " ".join(word for bit, word in ((1, "viable"), (2, "container")) if flags & bit)


def _device_descriptor(descriptor: int, name: str) -> int:
    # Given an immutable buffer, ioctl returns it instead of the call's result, which here is the new descriptor.
    made: int = fcntl.ioctl(descriptor, _VFIO + 6, bytearray(name.encode() + b"\0"), True)
    return made


def _descriptor_of(argument: object) -> int:
    if not isinstance(argument, RealFile):
        raise TypeError(f"an open file of this kernel is needed, not {argument!r}")
    return argument.descriptor
