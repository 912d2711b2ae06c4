"""vGPUs through NVML: what a GPU can host, and which machines run on it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import pynvml

from claimwright.driver.adapters.nvml.session import NvmlSession
from claimwright.driver.adapters.nvml.strings import text_of
from claimwright.driver.errors import StepFailed
from claimwright.driver.ports import RunningVgpu, VgpuPlace, VgpuReading, VgpuType

_NOT_THERE: Final = (
    pynvml.NVML_ERROR_NOT_SUPPORTED,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    pynvml.NVML_ERROR_INVALID_ARGUMENT,
)
# nvmlDeviceGetVgpuTypeSupportedPlacements: the mode of several sizes.
_HETEROGENEOUS: Final = 0
# The name of a type carries the vendor's brand, which its documents leave out: `GRID T4-1Q`, `NVIDIA L4-4Q`.
_BRANDS: Final = ("GRID ", "NVIDIA ")
Value = TypeVar("Value")


def vgpus_of(handle: Any) -> VgpuReading | None:  # noqa: ANN401  an opaque C pointer
    """Read a GPU as a host; None where no vGPU manager serves it. NVMLError when NVML fails otherwise."""
    mode = _if_there(lambda: pynvml.nvmlDeviceGetVirtualizationMode(handle))
    if mode != pynvml.NVML_GPU_VIRTUALIZATION_MODE_HOST_VGPU:
        return None
    on_functions = _if_there(lambda: pynvml.nvmlDeviceGetHostVgpuMode(handle))
    mixed = bool(_if_there(lambda: pynvml.nvmlDeviceGetVgpuHeterogeneousMode(handle)))
    types = _if_there(lambda: pynvml.nvmlDeviceGetSupportedVgpus(handle)) or []
    return VgpuReading(
        on_functions=on_functions == pynvml.NVML_HOST_VGPU_MODE_SRIOV,
        mixed_sizes=mixed,
        types=tuple(_described(handle, int(type_id), mixed=mixed) for type_id in types),
    )


class NvmlVgpus:
    """The port `Vgpus` over NVML."""

    def __init__(self, session: NvmlSession) -> None:
        self._session = session

    def running(self, gpu_uuid: str) -> tuple[RunningVgpu, ...]:
        """Return the vGPUs that machines run on now."""
        with self._session.open():
            try:
                return tuple(_running(pynvml.nvmlDeviceGetHandleByUUID(gpu_uuid)))
            except pynvml.NVMLError as error:
                raise StepFailed(f"GPU {gpu_uuid}: NVML could not list its vGPUs: {error}") from error


def _described(handle: Any, type_id: int, *, mixed: bool) -> VgpuType:  # noqa: ANN401
    name = text_of(pynvml.nvmlVgpuTypeGetName(type_id))
    brand = next((each for each in _BRANDS if name.startswith(each)), "")
    return VgpuType(
        type_id=type_id,
        name=name.removeprefix(brand),
        class_name=text_of(pynvml.nvmlVgpuTypeGetClass(type_id)),
        framebuffer_bytes=int(pynvml.nvmlVgpuTypeGetFramebufferSize(type_id)),
        most=int(pynvml.nvmlVgpuTypeGetMaxInstances(handle, type_id)),
        display_heads=int(_if_there(lambda: pynvml.nvmlVgpuTypeGetNumDisplayHeads(type_id)) or 0),
        resolution=_if_there(lambda: pynvml.nvmlVgpuTypeGetResolution(type_id)),
        frame_rate_limit=_if_there(lambda: int(pynvml.nvmlVgpuTypeGetFrameRateLimit(type_id))),
        license=text_of(_if_there(lambda: pynvml.nvmlVgpuTypeGetLicense(type_id)) or ""),
        places=_places(handle, type_id) if mixed else (),
    )


def _places(handle: Any, type_id: int) -> tuple[VgpuPlace, ...]:  # noqa: ANN401
    """Return where vGPUs of a type may be; pynvml's own wrapper leaves the record's count at 0."""
    room = (ctypes.c_uint * int(pynvml.nvmlVgpuTypeGetMaxInstances(handle, type_id)))()
    record = pynvml.c_nvmlVgpuPlacementList_v2_t()
    record.version, record.mode = pynvml.VgpuPlacementList_v2, _HETEROGENEOUS
    record.count, record.placementIds = len(room), room
    ask = pynvml._nvmlGetFunctionPointer("nvmlDeviceGetVgpuTypeSupportedPlacements")
    pynvml._nvmlCheckReturn(ask(handle, type_id, ctypes.byref(record)))
    return tuple(
        VgpuPlace(int(room[number]), int(record.placementSize)) for number in range(int(record.count))
    )


def _running(handle: Any) -> Iterator[RunningVgpu]:  # noqa: ANN401
    for instance in _if_there(lambda: pynvml.nvmlDeviceGetActiveVgpus(handle)) or ():
        mdev = _if_there(lambda each=instance: pynvml.nvmlVgpuInstanceGetMdevUUID(each))  # type: ignore[misc]
        yield RunningVgpu(
            type_id=int(pynvml.nvmlVgpuInstanceGetType(instance)),
            machine=_machine(instance),
            mdev=text_of(mdev).lower() if mdev else None,
        )


def _machine(instance: int) -> str:
    # pynvml converts no bytes inside the pair.
    found = pynvml.nvmlVgpuInstanceGetVmID(instance)
    return text_of(found[0] if isinstance(found, tuple) else found)


def _if_there(call: Callable[[], Value]) -> Value | None:
    try:
        return call()
    except pynvml.NVMLError as error:
        if error.value in _NOT_THERE:
            return None
        raise
