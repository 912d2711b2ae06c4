"""What NVML says about driver and GPUs, in one pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pynvml

from claimwright.driver.adapters.nvml.migs import mig_of
from claimwright.driver.adapters.nvml.session import NvmlSession
from claimwright.driver.errors import NodeUnusable
from claimwright.driver.ports import GpuReading, NodeReading, UnreadableGpu

_UNKNOWN_TO_THIS_GPU = (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)


class NvmlLibrary:
    """Reads the node."""

    def __init__(self, session: NvmlSession) -> None:
        self._session = session

    def read(self) -> NodeReading:
        """Read driver and GPUs now; NodeUnusable when the library is missing or refuses."""
        with self._session.open():
            try:
                return NodeReading(
                    driver_version=_text(pynvml.nvmlSystemGetDriverVersion()),
                    cuda_driver_version=int(pynvml.nvmlSystemGetCudaDriverVersion()),
                    gpus=tuple(_read_gpu(index) for index in range(pynvml.nvmlDeviceGetCount())),
                )
            except pynvml.NVMLError as error:
                raise NodeUnusable(f"NVML of {self._session.library} failed: {error}") from error


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
            mig=mig_of(handle, profiles=True),
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
