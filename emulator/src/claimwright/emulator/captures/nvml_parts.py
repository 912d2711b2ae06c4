"""What NVML tells of a GPU in several leaves at once: each part yields those that the board tells."""

from __future__ import annotations

import ctypes
import math
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from types import ModuleType
from typing import Any

from claimwright.emulator.captures import clock_lists
from claimwright.emulator.captures.nvml_asking import MIB, Leaf, Reader, asked, bus, text

_LINKS = 36  # NVML_NVLINK_MAX_LINKS, header 13.5
_CLOCKS = {"graphics": 0, "sm": 1, "memory": 2, "video": 3}
_THRESHOLDS = {"shutdown": 0, "slowdown": 1, "memory_max": 2, "max_operating": 3}
# NVML_FI_DEV_TEMPERATURE_*
_TLIMITS = {"shutdown": 193, "slowdown": 194, "memory_max": 195, "max_operating": 196}
_AVERAGE_POWER = 185  # NVML_FI_DEV_POWER_AVERAGE
_ATOMICS = {"pci.atomics_outbound": 228, "pci.atomics_inbound": 229}  # NVML_FI_DEV_PCIE_*_ATOMICS_MASK
_ATOMIC_NAMES = ("fetchadd_32", "fetchadd_64", "swap_32", "swap_64", "cas_32", "cas_64", "cas_128")
_STATES = {1: "not_started", 2: "in_progress", 3: "completed"}
_HEALTH = ("degraded_bandwidth", "route_recovery", "route_unhealthy", "access_timeout_recovery")


def _memory(nvml: ModuleType, gpu: Any) -> Iterator[Leaf]:  # noqa: ANN401
    told = nvml.nvmlDeviceGetMemoryInfo(gpu, version=nvml.nvmlMemory_v2)
    yield "memory.total_mib", str(told.total // MIB)
    yield "memory.reserved_mib", str(math.ceil(told.reserved / MIB))


def _limits(nvml: ModuleType, gpu: Any) -> Iterator[Leaf]:  # noqa: ANN401
    lowest, highest = nvml.nvmlDeviceGetPowerManagementLimitConstraints(gpu)
    yield "power.min_watts", str(lowest // 1000)
    yield "power.max_watts", str(highest // 1000)
    yield "power.default_watts", str(nvml.nvmlDeviceGetPowerManagementDefaultLimit(gpu) // 1000)
    if _fields(nvml, gpu, [_AVERAGE_POWER])[0] is not None:
        yield "power.average", "true"


def _heat(nvml: ModuleType, gpu: Any) -> Iterator[Leaf]:  # noqa: ANN401
    for name, number in _THRESHOLDS.items():
        at = asked(nvml, gpu, partial(_threshold, number))
        if at is not None:
            yield f"thermals.thresholds.{name}", str(at)
    for name, value in zip(_TLIMITS, _fields(nvml, gpu, list(_TLIMITS.values())), strict=True):
        if value is not None:
            yield f"thermals.tlimits.{name}", str(ctypes.c_int32(value.uiVal).value)


def _clocks(nvml: ModuleType, gpu: Any) -> Iterator[Leaf]:  # noqa: ANN401
    readers: dict[str, Reader] = {
        **{f"max_clocks.{name}": partial(_max_clock, number) for name, number in _CLOCKS.items()},
        **{f"reading.clocks.{name}": partial(_clock, number) for name, number in _CLOCKS.items()},
        "supported_clocks": _supported_clocks,
        "default_application_clocks.graphics": partial(_application_clock, _CLOCKS["graphics"]),
        "default_application_clocks.memory": partial(_application_clock, _CLOCKS["memory"]),
    }
    for leaf, reader in readers.items():
        value = asked(nvml, gpu, reader)
        if value is not None:
            yield leaf, str(value)


def _max_clock(number: int, nvml: ModuleType, gpu: Any) -> object:  # noqa: ANN401
    return nvml.nvmlDeviceGetMaxClockInfo(gpu, number)


def _clock(number: int, nvml: ModuleType, gpu: Any) -> object:  # noqa: ANN401
    return nvml.nvmlDeviceGetClockInfo(gpu, number)


def _application_clock(number: int, nvml: ModuleType, gpu: Any) -> object:  # noqa: ANN401
    return nvml.nvmlDeviceGetDefaultApplicationsClock(gpu, number)


def _supported_clocks(nvml: ModuleType, gpu: Any) -> object:  # noqa: ANN401
    memories = nvml.nvmlDeviceGetSupportedMemoryClocks(gpu)
    by_memory = {memory: nvml.nvmlDeviceGetSupportedGraphicsClocks(gpu, memory) for memory in memories}
    return clock_lists.written(by_memory)


def _atomics(nvml: ModuleType, gpu: Any) -> Iterator[Leaf]:  # noqa: ANN401
    for leaf, value in zip(_ATOMICS, _fields(nvml, gpu, list(_ATOMICS.values())), strict=True):
        if value is not None:
            names = (name for bit, name in enumerate(_ATOMIC_NAMES) if value.uiVal >> bit & 1)
            yield leaf, " ".join(names)


def _links(nvml: ModuleType, gpu: Any) -> Iterator[Leaf]:  # noqa: ANN401
    ends: Counter[str] = Counter()
    for link in range(_LINKS):
        remote = asked(nvml, gpu, partial(_remote, link))
        if remote is not None:
            ends[text(remote)] += 1
    if ends:
        yield "nvlink.ends", " ".join(f"{end}={count}" for end, count in sorted(ends.items()))


def _threshold(number: int, nvml: ModuleType, gpu: Any) -> object:  # noqa: ANN401
    return nvml.nvmlDeviceGetTemperatureThreshold(gpu, number)


def _remote(link: int, nvml: ModuleType, gpu: Any) -> object:  # noqa: ANN401
    return bus(text(nvml.nvmlDeviceGetNvLinkRemotePciInfo(gpu, link).busId))


def _fabric(nvml: ModuleType, gpu: Any) -> Iterator[Leaf]:  # noqa: ANN401
    told = nvml.c_nvmlGpuFabricInfo_v2_t()
    told.version = nvml.nvmlGpuFabricInfo_v2
    nvml.nvmlDeviceGetGpuFabricInfoV(gpu, ctypes.byref(told))
    if told.state not in _STATES:
        return
    cluster = uuid.UUID(bytes=bytes(_byte(told, "clusterUuid", at) for at in range(16)))
    yield "fabric.state", _STATES[told.state]
    yield "fabric.cluster_uuid", str(cluster)
    yield "fabric.clique_id", str(told.cliqueId)
    for bit, fact in enumerate(_HEALTH):
        if told.healthMask >> 2 * bit & 3:
            yield f"fabric.{fact}", "true"


def _platform(nvml: ModuleType, gpu: Any) -> Iterator[Leaf]:  # noqa: ANN401
    told = nvml.c_nvmlPlatformInfo_v2_t()
    told.version = nvml.nvmlPlatformInfo_v2
    nvml.nvmlDeviceGetPlatformInfo(gpu, ctypes.byref(told))
    if serial := text(told.chassisSerialNumber):
        yield "tray.chassis_serial", serial
        yield "tray.slot", str(_byte(told, "slotNumber"))
        yield "tray.index", str(_byte(told, "trayIndex"))
    if serial or _byte(told, "peerType"):
        yield "tray.host_id", str(_byte(told, "hostId"))


def _byte(record: ctypes.Structure, name: str, at: int = 0) -> int:
    """Read one byte of a field that ctypes takes for text."""
    return ctypes.c_ubyte.from_buffer(record, getattr(type(record), name).offset + at).value


def _fields(nvml: ModuleType, gpu: Any, numbers: Sequence[int]) -> list[Any]:  # noqa: ANN401
    """Return the value of each field, None where the board does not tell it."""
    answers = nvml.nvmlDeviceGetFieldValues(gpu, list(numbers))
    return [answer.value if answer.nvmlReturn == nvml.NVML_SUCCESS else None for answer in answers]


PARTS = (_memory, _limits, _heat, _clocks, _atomics, _links, _fabric, _platform)
"""All parts: each takes pynvml and a handle, and may end with NVMLError where the board tells nothing (more)."""
