"""What NVML says about driver and GPUs, in one pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pynvml

from claimwright.driver.adapters.nvml.conditions import condition_of
from claimwright.driver.adapters.nvml.enumerating import enumerated
from claimwright.driver.adapters.nvml.fabric import fabric_of, nvlink_peers
from claimwright.driver.adapters.nvml.migs import mig_mode_of, mig_of
from claimwright.driver.adapters.nvml.profiles import ProfileBook
from claimwright.driver.adapters.nvml.session import NvmlSession, nvml_unusable
from claimwright.driver.adapters.nvml.strings import text_of
from claimwright.driver.adapters.nvml.vgpus import vgpus_of
from claimwright.driver.ports import GpuReading, NodeReading, UnreadableGpu

_UNKNOWN_TO_THIS_GPU = (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
# A mode that changes again and again is read as it comes.
_MORE_READINGS = 2


class NvmlLibrary:
    """Reads the node; with `conditions`, the GPUs' state of repair as well, which takes more calls."""

    def __init__(
        self, session: NvmlSession, profiles: ProfileBook | None = None, *, conditions: bool = False
    ) -> None:
        self._session = session
        self._profiles = profiles or ProfileBook()
        self._conditions = conditions

    def read(self) -> NodeReading:
        """Read driver and GPUs now; NvmlUnusable when the library is missing or refuses."""
        with self._session.open():
            try:
                driver_version = text_of(pynvml.nvmlSystemGetDriverVersion())
                cuda_driver_version = int(pynvml.nvmlSystemGetCudaDriverVersion())
                found = enumerated()
            except pynvml.NVMLError as error:
                raise nvml_unusable(f"NVML failed: {error}", error) from error
            handles: dict[str, Any] = {}
            gpus = [self._gpu(index, handle, handles) for index, handle in enumerate(found)]
            peers = nvlink_peers(handles)
        return NodeReading(
            driver_version=driver_version,
            cuda_driver_version=cuda_driver_version,
            gpus=tuple(
                replace(gpu, nvlink_peers=peers.get(gpu.pci_bus_id, ()))
                if isinstance(gpu, GpuReading)
                else gpu
                for gpu in gpus
            ),
        )

    def _gpu(self, index: int, handle: Any, handles: dict[str, Any]) -> GpuReading | UnreadableGpu:  # noqa: ANN401
        try:
            if isinstance(handle, pynvml.NVMLError):
                raise handle
            reading = _read_gpu(handle, self._profiles)
            if self._conditions:
                reading = replace(reading, condition=condition_of(handle))
        except pynvml.NVMLError as error:
            return UnreadableGpu(index, f"NVML: {error}", lost=error.value == pynvml.NVML_ERROR_GPU_IS_LOST)
        handles[reading.pci_bus_id] = handle
        return reading


def _read_gpu(handle: Any, profiles: ProfileBook) -> GpuReading:  # noqa: ANN401  an opaque C pointer
    """Read a GPU in one MIG mode: the types of vGPUs are others in the other, and claims switch it meanwhile."""
    reading = _read_once(handle, profiles)
    for _ in range(_MORE_READINGS):
        if reading.mig is None or mig_mode_of(handle) == (reading.mig.enabled, reading.mig.pending):
            break
        reading = _read_once(handle, profiles)
    return reading


def _read_once(handle: Any, profiles: ProfileBook) -> GpuReading:  # noqa: ANN401  an opaque C pointer
    return GpuReading(
        minor=int(pynvml.nvmlDeviceGetMinorNumber(handle)),
        uuid=text_of(pynvml.nvmlDeviceGetUUID(handle)),
        name=text_of(pynvml.nvmlDeviceGetName(handle)),
        brand=int(pynvml.nvmlDeviceGetBrand(handle)),
        architecture=int(pynvml.nvmlDeviceGetArchitecture(handle)),
        compute_capability=_capability(handle),
        pci_bus_id=text_of(pynvml.nvmlDeviceGetPciInfo(handle).busId),
        memory_bytes=_if_supported(lambda: int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)),
        addressing_mode=_if_supported(lambda: int(pynvml.nvmlDeviceGetAddressingMode(handle))),
        module_id=_if_supported(lambda: int(pynvml.nvmlDeviceGetModuleId(handle))) or None,
        mig=mig_of(handle, profiles.read),
        vgpus=vgpus_of(handle),
        fabric=fabric_of(handle),
    )


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
