"""The fabric manager through `libnvfm.so` of the driver root (nv_fm_agent.h and nv_fm_types.h of NVIDIA's SDK).

One connection for each question: they are rare, and a fabric manager that was restarted is found again.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import Any, Final

from claimwright.driver.driver_root import DriverRoot
from claimwright.driver.errors import StepFailed
from claimwright.driver.ports import FabricPartition

LIBRARY: Final = "libnvfm.so"
_SOCKET: Final = PurePosixPath("/run/nvidia-fabricmanager/socket")
# The community driver's variables.
_SOCKET_VARIABLE: Final = "NVIDIA_FABRICMANAGER_UNIX_SOCKET"
_ADDRESS_VARIABLE: Final = "NVIDIA_FABRICMANAGER_ADDRESS"
_TIMEOUT_MILLISECONDS: Final = 5000
_SUCCESS, _NOT_SUPPORTED = 0, -3
# fmReturn_t of nv_fm_types.h.
_WORDS: Final[Mapping[int, str]] = {
    -1: "bad parameter",
    -2: "general error",
    -3: "not supported",
    -4: "not initialised",
    -5: "timeout",
    -6: "version mismatch",
    -7: "in use: a partition that shares a GPU with it is active, and `fmpm -l` shows which",
    -8: "not configured",
    -9: "nobody listens; is nvidia-fabricmanager running, with FABRIC_MODE=1?",
    -10: "NVLink error",
    -13: "not in use",
    -22: "not ready yet",
}


class _Connect(ctypes.Structure):
    """fmConnectParams_v1, which every version of the library takes."""

    _fields_ = [
        ("version", ctypes.c_uint),
        ("address", ctypes.c_char * 256),
        ("timeout_ms", ctypes.c_uint),
        ("is_unix_socket", ctypes.c_uint),
    ]


class _Gpu(ctypes.Structure):
    """fmFabricPartitionGpuInfo_t."""

    _fields_ = [
        ("physical_id", ctypes.c_uint),
        ("uuid", ctypes.c_char * 80),
        ("pci_bus_id", ctypes.c_char * 32),
        ("links_available", ctypes.c_uint),
        ("links_most", ctypes.c_uint),
        ("line_rate_mbps", ctypes.c_uint),
    ]


class _Partition(ctypes.Structure):
    """fmFabricPartitionInfo_t."""

    _fields_ = [
        ("number", ctypes.c_uint),
        ("active", ctypes.c_uint),
        ("count", ctypes.c_uint),
        ("gpus", _Gpu * 16),
    ]


class _Partitions(ctypes.Structure):
    """fmFabricPartitionList_v2."""

    _fields_ = [
        ("version", ctypes.c_uint),
        ("count", ctypes.c_uint),
        ("most", ctypes.c_uint),
        ("items", _Partition * 64),
    ]


@dataclass(frozen=True)
class Address:
    """Where the fabric manager listens: a socket's path, or an IP address with its port."""

    text: str
    is_unix_socket: bool

    @classmethod
    def choose(cls, root: DriverRoot, environment: Mapping[str, str]) -> Address:
        """Take what the environment names, else the socket below the driver root."""
        if (address := environment.get(_ADDRESS_VARIABLE)) is not None:
            return cls(address or "127.0.0.1", is_unix_socket=False)
        return cls(environment.get(_SOCKET_VARIABLE) or str(root.path(_SOCKET)), is_unix_socket=True)


class NvidiaFabricManager:
    """The port `FabricManager`."""

    def __init__(self, library: Path, address: Address) -> None:
        self._path = library
        self._address = address
        self._loaded: ctypes.CDLL | None = None

    @classmethod
    def of(cls, root: DriverRoot) -> NvidiaFabricManager | None:
        """Find the library below a driver root; None where there is none, as on nodes without NVSwitches."""
        library = root.library(LIBRARY)
        return None if library is None else cls(library.readable, Address.choose(root, os.environ))

    def partitions(self) -> tuple[FabricPartition, ...]:
        """Return all by number; none where the fabric is not shared. StepFailed when nobody answers."""
        found = _Partitions(_version(_Partitions, 1))
        with self._connected() as (library, handle):
            status = library.fmGetSupportedFabricPartitions(handle, ctypes.byref(found))
        if status == _NOT_SUPPORTED:
            return ()
        self._check("list its partitions", status)
        return tuple(
            sorted((_partition(each) for each in found.items[: found.count]), key=attrgetter("number"))
        )

    def activate(self, number: int) -> None:
        """Join the GPUs of a partition."""
        with self._connected() as (library, handle):
            self._check(f"activate partition {number}", library.fmActivateFabricPartition(handle, number))

    def deactivate(self, number: int) -> None:
        """Part them again."""
        with self._connected() as (library, handle):
            self._check(f"deactivate partition {number}", library.fmDeactivateFabricPartition(handle, number))

    @contextmanager
    def _connected(self) -> Iterator[tuple[ctypes.CDLL, ctypes.c_void_p]]:
        library, handle = self._library(), ctypes.c_void_p()
        address = os.fsencode(self._address.text)
        parameters = _Connect(
            _version(_Connect, 1), address[:255], _TIMEOUT_MILLISECONDS, int(self._address.is_unix_socket)
        )
        status = library.fmConnect(ctypes.byref(parameters), ctypes.byref(handle))
        self._check(f"be reached at {self._address.text}", status)
        try:
            yield library, handle
        finally:
            library.fmDisconnect(handle)

    def _library(self) -> ctypes.CDLL:
        if self._loaded is None:
            try:
                library = ctypes.CDLL(str(self._path))
            except OSError as error:
                raise StepFailed(f"{self._path} cannot be loaded: {error}") from error
            for name in ("fmActivateFabricPartition", "fmDeactivateFabricPartition"):
                getattr(library, name).argtypes = [ctypes.c_void_p, ctypes.c_uint]
            self._check("start its library", library.fmLibInit())
            self._loaded = library
        return self._loaded

    def _check(self, what: str, status: int) -> None:
        if status != _SUCCESS:
            word = _WORDS.get(status, "unknown to this version")
            raise StepFailed(f"the fabric manager could not {what}: {word} (status {status})")


def _version(structure: type[ctypes.Structure], number: int) -> int:
    """Return MAKE_FM_PARAM_VERSION: the size, with the number in the highest byte."""
    return ctypes.sizeof(structure) | number << 24


def _partition(item: Any) -> FabricPartition:  # noqa: ANN401  a field of a ctypes structure
    gpus = sorted((int(gpu.physical_id), _address(gpu.pci_bus_id)) for gpu in item.gpus[: item.count])
    modules, addresses = (tuple(column) for column in zip(*gpus, strict=True)) if gpus else ((), ())
    return FabricPartition(int(item.number), modules, addresses, active=bool(item.active))


def _address(text: bytes) -> str:
    """Return `0000:1b:00.0` for `00000000:1B:00.0`; empty where the fabric manager has not found the GPU."""
    found = text.decode("ascii", "replace").lower()
    return found[-len("0000:1b:00.0") :]
