"""What each GPU can be cut into, which NVML tells profile by profile: kept, as it stays while the driver is loaded."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import pynvml

from claimwright.driver.adapters.nvml.strings import text_of
from claimwright.driver.ports import PartitionProfile, Placement

Profiles: TypeAlias = tuple[PartitionProfile, ...]
_MEBIBYTE: Final = 1024 * 1024
# Enumerators of GPU instance profiles; nvml.h adds some with every generation.
_GPU_PROFILES: Final = range(32)
NO_SUCH_PROFILE: Final = (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_INVALID_ARGUMENT)


class ProfileBook:
    """The profiles of each GPU by uuid; each reading of the node renews them, so that none is older than that.

    Equal boards share one object. Any thread may call.
    """

    def __init__(self) -> None:
        self._known: dict[str, Profiles] = {}

    def read(self, handle: Any) -> Profiles:  # noqa: ANN401  an opaque C pointer
        """Ask NVML; NVMLError when it fails."""
        found = tuple(_described(handle, info) for info in _gpu_profiles(handle))
        same = next((known for known in tuple(self._known.values()) if known == found), found)
        self._known[_uuid(handle)] = same
        return same

    def known(self, handle: Any) -> Profiles:  # noqa: ANN401
        """Return what was read before, or ask."""
        found = self._known.get(_uuid(handle))
        return self.read(handle) if found is None else found


def _uuid(handle: Any) -> str:  # noqa: ANN401
    return text_of(pynvml.nvmlDeviceGetUUID(handle))


def _gpu_profiles(handle: Any) -> Iterator[Any]:  # noqa: ANN401
    """Yield the records of the GPU instance profiles that this GPU has."""
    for enumerator in _GPU_PROFILES:
        try:
            yield pynvml.nvmlDeviceGetGpuInstanceProfileInfo(handle, enumerator)
        except pynvml.NVMLError as error:
            if error.value not in NO_SUCH_PROFILE:
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
        if error.value in NO_SUCH_PROFILE:
            return ()
        raise
    return tuple(sorted(Placement(int(found.start), int(found.size)) for found in room[: count.value]))
