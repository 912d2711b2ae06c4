"""What NVML says about the partitions of one GPU, which takes many calls."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any, Final

import pynvml

from claimwright.driver.adapters.nvml.strings import text_of
from claimwright.driver.ports import ComputeInstance, MigReading, Partition, PartitionProfile, Placement

_MEBIBYTE: Final = 1024 * 1024
# Enumerators of GPU instance profiles; nvml.h adds some with every generation.
_GPU_PROFILES: Final = range(32)
_NO_SUCH_PROFILE: Final = (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_INVALID_ARGUMENT)
_EMPTY_SLOT: Final = (pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_ERROR_INVALID_ARGUMENT)
_NOT_CAPABLE: Final = (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)


def mig_of(handle: Any, *, profiles: bool) -> MigReading | None:  # noqa: ANN401  an opaque C pointer
    """Read MIG of a GPU; None when it is not capable. NVMLError when NVML fails otherwise."""
    try:
        current, pending = pynvml.nvmlDeviceGetMigMode(handle)
    except pynvml.NVMLError as error:
        if error.value in _NOT_CAPABLE:
            return None
        raise
    found = tuple(gpu_profiles(handle))
    return MigReading(
        enabled=bool(current),
        pending=bool(pending),
        profiles=tuple(_described(handle, info) for info in found) if profiles else (),
        partitions=tuple(partitions_of(handle, [info.id for info in found])) if current else (),
    )


def partitions_of(handle: Any, profile_ids: list[int]) -> Iterator[Partition]:  # noqa: ANN401
    """Yield the GPU instances that exist, by profile."""
    devices = _mig_devices(handle)
    for profile_id in profile_ids:
        for instance in _instances(handle, profile_id):
            info = pynvml.nvmlGpuInstanceGetInfo(instance)
            yield Partition(
                gpu_instance=int(info.id),
                profile_id=int(info.profileId),
                placement=Placement(int(info.placement.start), int(info.placement.size)),
                compute_instances=tuple(devices.get(int(info.id), ())),
            )


def gpu_profiles(handle: Any) -> Iterator[Any]:  # noqa: ANN401
    """Yield the records of the GPU instance profiles that this GPU has."""
    for enumerator in _GPU_PROFILES:
        try:
            yield pynvml.nvmlDeviceGetGpuInstanceProfileInfo(handle, enumerator)
        except pynvml.NVMLError as error:
            if error.value not in _NO_SUCH_PROFILE:
                raise


def _described(handle: Any, info: Any) -> PartitionProfile:  # noqa: ANN401
    return PartitionProfile(
        profile_id=int(info.id),
        name=text_of(info.name).removeprefix("MIG "),
        compute_slices=int(info.sliceCount),
        multiprocessors=int(info.multiprocessorCount),
        copy_engines=int(info.copyEngineCount),
        decoders=int(info.decoderCount),
        encoders=int(info.encoderCount),
        jpeg_engines=int(info.jpegCount),
        ofa_engines=int(info.ofaCount),
        memory_bytes=int(info.memorySizeMB) * _MEBIBYTE,
        placements=_placements(handle, int(info.id)),
    )


def _placements(handle: Any, profile_id: int) -> tuple[Placement, ...]:  # noqa: ANN401
    count = ctypes.c_uint(0)
    try:
        pynvml.nvmlDeviceGetGpuInstancePossiblePlacements(handle, profile_id, None, ctypes.byref(count))
        room = (pynvml.c_nvmlGpuInstancePlacement_t * max(count.value, 1))()
        pynvml.nvmlDeviceGetGpuInstancePossiblePlacements(handle, profile_id, room, ctypes.byref(count))
    except pynvml.NVMLError as error:
        if error.value in _NO_SUCH_PROFILE:
            return ()
        raise
    return tuple(sorted(Placement(int(found.start), int(found.size)) for found in room[: count.value]))


def _instances(handle: Any, profile_id: int) -> list[Any]:  # noqa: ANN401
    info = ctypes.c_uint(64)
    room = (pynvml.c_nvmlGpuInstance_t * info.value)()
    try:
        pynvml.nvmlDeviceGetGpuInstances(handle, profile_id, room, ctypes.byref(info))
    except pynvml.NVMLError as error:
        if error.value in _NO_SUCH_PROFILE:
            return []
        raise
    return [room[number] for number in range(info.value)]


def _mig_devices(handle: Any) -> dict[int, list[ComputeInstance]]:  # noqa: ANN401
    found: dict[int, list[ComputeInstance]] = {}
    for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            device = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
            instance = int(pynvml.nvmlDeviceGetGpuInstanceId(device))
            compute = int(pynvml.nvmlDeviceGetComputeInstanceId(device))
            uuid = pynvml.nvmlDeviceGetUUID(device)
        except pynvml.NVMLError as error:
            if error.value in _EMPTY_SLOT:
                continue
            raise
        found.setdefault(instance, []).append(ComputeInstance(compute, text_of(uuid)))
    return found
