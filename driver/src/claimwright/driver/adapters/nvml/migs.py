"""What NVML says about the partitions of one GPU, which takes many calls."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import pynvml

from claimwright.driver.adapters.nvml.profiles import NO_SUCH_PROFILE, Profiles
from claimwright.driver.adapters.nvml.strings import text_of
from claimwright.driver.ports import ComputeInstance, MigReading, Partition, Placement

_EMPTY_SLOT: Final = (pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_ERROR_INVALID_ARGUMENT)
_NOT_CAPABLE: Final = (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)


def mig_of(handle: Any, profiles: Callable[[Any], Profiles]) -> MigReading | None:  # noqa: ANN401  an opaque C pointer
    """Read MIG of a GPU; None when it is not capable. NVMLError when NVML fails otherwise."""
    mode = mig_mode_of(handle)
    if mode is None:
        return None
    current, pending = mode
    found = profiles(handle)
    ids = [profile.profile_id for profile in found]
    return MigReading(
        enabled=current,
        pending=pending,
        profiles=found,
        partitions=tuple(partitions_of(handle, ids)) if current else (),
    )


def mig_mode_of(handle: Any) -> tuple[bool, bool] | None:  # noqa: ANN401
    """Return the MIG mode that is and the one that a reset brings; None when the GPU is not capable."""
    try:
        current, pending = pynvml.nvmlDeviceGetMigMode(handle)
    except pynvml.NVMLError as error:
        if error.value in _NOT_CAPABLE:
            return None
        raise
    return bool(current), bool(pending)


def partitions_of(handle: Any, profile_ids: Iterable[int]) -> Iterator[Partition]:  # noqa: ANN401
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


def _instances(handle: Any, profile_id: int) -> list[Any]:  # noqa: ANN401
    info = ctypes.c_uint(64)
    room = (pynvml.c_nvmlGpuInstance_t * info.value)()
    try:
        pynvml.nvmlDeviceGetGpuInstances(handle, profile_id, room, ctypes.byref(info))
    except pynvml.NVMLError as error:
        if error.value in NO_SUCH_PROFILE:
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
