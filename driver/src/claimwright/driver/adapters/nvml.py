"""NVML through pynvml, loaded by absolute path from the driver root.

pynvml itself asks the dynamic loader for `libnvidia-ml.so.1`; a driver in a pod must not depend on the
loader's search path, so the library is loaded here and handed to pynvml before its first call.
Initialised with NVML_INIT_FLAG_NO_GPUS: a node whose GPUs are all passed through has none to offer and is
still a working node.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pynvml

from claimwright.driver.errors import NodeUnusable
from claimwright.driver.ports import GpuReading, NodeReading, UnreadableGpu

_UNKNOWN_TO_THIS_GPU = (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)


class NvmlLibrary:
    """One NVML library. A process can speak to one only: pynvml keeps it in a module variable."""

    def __init__(self, library: Path) -> None:
        self.library = library
        self._lock = threading.Lock()
        self._initialised = False

    def read(self) -> NodeReading:
        """Read driver and GPUs now; NodeUnusable when the library is missing or refuses."""
        with self._lock:
            self._initialise()
            try:
                return NodeReading(
                    driver_version=_text(pynvml.nvmlSystemGetDriverVersion()),
                    cuda_driver_version=int(pynvml.nvmlSystemGetCudaDriverVersion()),
                    gpus=tuple(_read_gpu(index) for index in range(pynvml.nvmlDeviceGetCount())),
                )
            except pynvml.NVMLError as error:
                raise NodeUnusable(f"NVML of {self.library} failed: {error}") from error

    def close(self) -> None:
        """Shut the library down; harmless when it was never used."""
        with self._lock:
            if self._initialised:
                self._initialised = False
                pynvml.nvmlShutdown()

    def _initialise(self) -> None:
        if self._initialised:
            return
        _hand_to_pynvml(self.library)
        try:
            pynvml.nvmlInitWithFlags(pynvml.NVML_INIT_FLAG_NO_GPUS)
        except pynvml.NVMLError as error:
            raise NodeUnusable(
                f"NVML of {self.library} does not initialise: {error}. Is the NVIDIA kernel driver loaded, "
                "and is it of the library's version?"
            ) from error
        self._initialised = True


def _hand_to_pynvml(library: Path) -> None:
    loaded = pynvml.nvmlLib
    if loaded is not None and loaded._name != str(library):
        raise NodeUnusable(f"this process already uses NVML of {loaded._name}, not {library}")
    if loaded is None:
        try:
            pynvml.nvmlLib = ctypes.CDLL(str(library))
        except OSError as error:
            raise NodeUnusable(f"NVML library {library} cannot be loaded: {error}") from error


def _read_gpu(index: int) -> GpuReading | UnreadableGpu:
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        return GpuReading(
            minor=int(pynvml.nvmlDeviceGetMinorNumber(handle)),
            uuid=_text(pynvml.nvmlDeviceGetUUID(handle)),
            name=_text(pynvml.nvmlDeviceGetName(handle)),
            brand=int(pynvml.nvmlDeviceGetBrand(handle)),
            architecture=int(pynvml.nvmlDeviceGetArchitecture(handle)),
            compute_capability=_capability(handle),
            pci_bus_id=_text(pynvml.nvmlDeviceGetPciInfo(handle).busId),
            memory_bytes=_if_supported(lambda: int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)),
            addressing_mode=_if_supported(lambda: int(pynvml.nvmlDeviceGetAddressingMode(handle))),
            mig_enabled=bool(_if_supported(lambda: int(pynvml.nvmlDeviceGetMigMode(handle)[0]))),
        )
    except pynvml.NVMLError as error:
        return UnreadableGpu(index, f"NVML: {error}")


def _capability(handle: Any) -> tuple[int, int]:  # noqa: ANN401  an opaque C pointer
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    return int(major), int(minor)


def _if_supported(call: Callable[[], int]) -> int | None:
    try:
        return call()
    except pynvml.NVMLError as error:
        if error.value in _UNKNOWN_TO_THIS_GPU:
            return None
        raise


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
