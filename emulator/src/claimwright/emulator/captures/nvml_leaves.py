"""What NVML tells of a machine: pynvml loads the `libnvidia-ml.so.1` that the loader finds."""

from __future__ import annotations

import ctypes
import math
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import ModuleType
from typing import Any

from claimwright.emulator.captures import clock_lists
from claimwright.emulator.captures.errors import NothingToRecord
from claimwright.emulator.model import Architecture, Brand

Leaf = tuple[str, str]
Reader = Callable[[ModuleType, Any], object]

_MIB = 1 << 20
_LINKS = 36  # NVML_NVLINK_MAX_LINKS, header 13.5
_CLOCKS = {"graphics": 0, "sm": 1, "memory": 2, "video": 3}
_THRESHOLDS = {"shutdown": 0, "slowdown": 1, "memory_max": 2, "max_operating": 3}
_TLIMITS = {
    "shutdown": 193,
    "slowdown": 194,
    "memory_max": 195,
    "max_operating": 196,
}  # NVML_FI_DEV_TEMPERATURE_*
_GONE = (
    1,
    9,
    15,
    16,
)  # UNINITIALIZED, DRIVER_NOT_LOADED, GPU_IS_LOST, RESET_REQUIRED: no answer is a fact now
_AVERAGE_POWER = 185  # NVML_FI_DEV_POWER_AVERAGE
_ATOMICS = {"pci.atomics_outbound": 228, "pci.atomics_inbound": 229}  # NVML_FI_DEV_PCIE_*_ATOMICS_MASK
_ATOMIC_NAMES = ("fetchadd_32", "fetchadd_64", "swap_32", "swap_64", "cas_32", "cas_64", "cas_128")
_VIRTUALIZATION = ("none", "pass_through", "vgpu", "host_vgpu", "host_vsga")  # nvmlGpuVirtualizationMode_t
_STATES = {1: "not_started", 2: "in_progress", 3: "completed"}
_HEALTH = ("degraded_bandwidth", "route_recovery", "route_unhealthy", "access_timeout_recovery")


def nvml_leaves() -> Iterator[Leaf]:
    """Yield the leaves of all GPUs that NVML lists; NothingToRecord when no library answers."""
    import pynvml  # noqa: PLC0415 - loads nothing of NVIDIA's until it is asked to

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise NothingToRecord(
            f"no NVML answers here ({error}); record on a machine with an NVIDIA driver, or a node with --node"
        ) from None
    try:
        yield "driver.version", _text(pynvml.nvmlSystemGetDriverVersion())
        yield "driver.cuda_version", str(pynvml.nvmlSystemGetCudaDriverVersion())
        for index in range(pynvml.nvmlDeviceGetCount()):
            yield from _of_index(pynvml, index)
    finally:
        pynvml.nvmlShutdown()


def _of_index(nvml: ModuleType, index: int) -> Iterator[Leaf]:
    try:
        gpu = nvml.nvmlDeviceGetHandleByIndex(index)
        yield from ((f"gpu.{index}.{leaf}", value) for leaf, value in _gpu(nvml, gpu))
    except nvml.NVMLError as error:
        raise NothingToRecord(
            f"GPU {index} does not answer NVML ({error}): a machine is recorded whole; mend or reset it first"
        ) from None


def _gpu(nvml: ModuleType, gpu: Any) -> Iterator[Leaf]:  # noqa: ANN401 - an opaque handle
    for leaf, reader in _READERS.items():
        value = _asked(nvml, gpu, reader)
        if value is not None:
            yield leaf, _text(value)
    for part in (_memory, _limits, _heat, _clocks, _atomics, _links, _fabric, _platform):
        try:
            yield from part(nvml, gpu)
        except nvml.NVMLError as error:
            if error.value in _GONE:
                raise
            continue  # the board does not tell this, or the driver does not know the function


def _asked(nvml: ModuleType, gpu: Any, reader: Reader) -> object | None:  # noqa: ANN401
    try:
        return reader(nvml, gpu)
    except nvml.NVMLError as error:
        if error.value in _GONE:
            raise
        return None
    except (ValueError, LookupError):
        return None


_READERS: dict[str, Reader] = {
    "name": lambda nvml, gpu: nvml.nvmlDeviceGetName(gpu),
    "brand": lambda nvml, gpu: Brand(nvml.nvmlDeviceGetBrand(gpu)).name.lower(),
    "architecture": lambda nvml, gpu: Architecture(nvml.nvmlDeviceGetArchitecture(gpu)).name.lower(),
    "cuda_capability": lambda nvml, gpu: ".".join(map(str, nvml.nvmlDeviceGetCudaComputeCapability(gpu))),
    "uuid": lambda nvml, gpu: nvml.nvmlDeviceGetUUID(gpu),
    "serial": lambda nvml, gpu: nvml.nvmlDeviceGetSerial(gpu),
    "minor": lambda nvml, gpu: nvml.nvmlDeviceGetMinorNumber(gpu),
    "module_id": lambda nvml, gpu: nvml.nvmlDeviceGetModuleId(gpu),
    "board_id": lambda nvml, gpu: f"{nvml.nvmlDeviceGetBoardId(gpu):#x}",
    "pdi": lambda nvml, gpu: f"{nvml.nvmlDeviceGetPdi(gpu):#018x}",
    "at": lambda nvml, gpu: _bus(_text(nvml.nvmlDeviceGetPciInfo(gpu).busId)),
    "pci.device": lambda nvml, gpu: f"{nvml.nvmlDeviceGetPciInfo(gpu).pciDeviceId >> 16:#06x}",
    "pci.subsystem_device": lambda nvml, gpu: f"{nvml.nvmlDeviceGetPciInfo(gpu).pciSubSystemId >> 16:#06x}",
    "pci.link_generation": lambda nvml, gpu: nvml.nvmlDeviceGetGpuMaxPcieLinkGeneration(gpu),
    "pci.host_generation": lambda nvml, gpu: nvml.nvmlDeviceGetMaxPcieLinkGeneration(gpu),
    "pci.link_width": lambda nvml, gpu: nvml.nvmlDeviceGetMaxPcieLinkWidth(gpu),
    "pci.trained_width": lambda nvml, gpu: nvml.nvmlDeviceGetCurrPcieLinkWidth(gpu),
    "parts.board": lambda nvml, gpu: nvml.nvmlDeviceGetBoardPartNumber(gpu),
    "parts.vbios": lambda nvml, gpu: nvml.nvmlDeviceGetVbiosVersion(gpu),
    "parts.inforom_image": lambda nvml, gpu: nvml.nvmlDeviceGetInforomImageVersion(gpu),
    "parts.inforom_oem": lambda nvml, gpu: nvml.nvmlDeviceGetInforomVersion(gpu, 0),
    "parts.inforom_ecc": lambda nvml, gpu: nvml.nvmlDeviceGetInforomVersion(gpu, 1),
    "parts.inforom_power": lambda nvml, gpu: nvml.nvmlDeviceGetInforomVersion(gpu, 2),
    "memory.bar1_mib": lambda nvml, gpu: nvml.nvmlDeviceGetBAR1MemoryInfo(gpu).bar1Total // _MIB,
    "memory.bus_width_bits": lambda nvml, gpu: nvml.nvmlDeviceGetMemoryBusWidth(gpu),
    "memory.ecc": lambda nvml, gpu: _true(nvml.nvmlDeviceGetEccMode(gpu)),
    "memory.remap_banks": lambda nvml, gpu: nvml.nvmlDeviceGetRowRemapperHistogram(gpu).max,
    "memory.page_retirement": lambda nvml, gpu: _true(nvml.nvmlDeviceGetRetiredPages(gpu, 0)),
    "engines.cuda_cores": lambda nvml, gpu: nvml.nvmlDeviceGetNumGpuCores(gpu),
    "addressing_mode": lambda nvml, gpu: ("none", "hmm", "ats")[nvml.nvmlDeviceGetAddressingMode(gpu)],
    "mig_capable": lambda nvml, gpu: _true(nvml.nvmlDeviceGetMigMode(gpu)),
    "coherent_memory": lambda nvml, gpu: _true(nvml.nvmlDeviceGetNumaNodeId(gpu)),
    "c2c": lambda nvml, gpu: ("disabled", "enabled")[nvml.nvmlDeviceGetC2cModeInfoV(gpu).isC2cEnabled],
    "fans": lambda nvml, gpu: nvml.nvmlDeviceGetNumFans(gpu),
    "persistence_mode": lambda nvml, gpu: ("false", "true")[nvml.nvmlDeviceGetPersistenceMode(gpu)],
    "virtualization": lambda nvml, gpu: _VIRTUALIZATION[nvml.nvmlDeviceGetVirtualizationMode(gpu)],
    "reading.temperature": lambda nvml, gpu: nvml.nvmlDeviceGetTemperature(gpu, 0),
    "reading.tlimit": lambda nvml, gpu: nvml.nvmlDeviceGetMarginTemperature(gpu),
    "reading.power_watts": lambda nvml, gpu: f"{nvml.nvmlDeviceGetPowerUsage(gpu) / 1000:.1f}",
    "reading.performance_state": lambda nvml, gpu: nvml.nvmlDeviceGetPerformanceState(gpu),
}


def _memory(nvml: ModuleType, gpu: Any) -> Iterator[Leaf]:  # noqa: ANN401
    told = nvml.nvmlDeviceGetMemoryInfo(gpu, version=nvml.nvmlMemory_v2)
    yield "memory.total_mib", str(told.total // _MIB)
    yield "memory.reserved_mib", str(math.ceil(told.reserved / _MIB))


def _limits(nvml: ModuleType, gpu: Any) -> Iterator[Leaf]:  # noqa: ANN401
    lowest, highest = nvml.nvmlDeviceGetPowerManagementLimitConstraints(gpu)
    yield "power.min_watts", str(lowest // 1000)
    yield "power.max_watts", str(highest // 1000)
    yield "power.default_watts", str(nvml.nvmlDeviceGetPowerManagementDefaultLimit(gpu) // 1000)
    if _fields(nvml, gpu, [_AVERAGE_POWER])[0] is not None:
        yield "power.average", "true"


def _heat(nvml: ModuleType, gpu: Any) -> Iterator[Leaf]:  # noqa: ANN401
    for name, number in _THRESHOLDS.items():
        at = _asked(nvml, gpu, partial(_threshold, number))
        if at is not None:
            yield f"thermals.thresholds.{name}", str(at)
    for name, value in zip(_TLIMITS, _fields(nvml, gpu, list(_TLIMITS.values())), strict=True):
        if value is not None:
            yield f"thermals.tlimits.{name}", str(ctypes.c_int32(value.uiVal).value)


def _clocks(nvml: ModuleType, gpu: Any) -> Iterator[Leaf]:  # noqa: ANN401
    asked: dict[str, Reader] = {
        **{f"max_clocks.{name}": partial(_max_clock, number) for name, number in _CLOCKS.items()},
        **{f"reading.clocks.{name}": partial(_clock, number) for name, number in _CLOCKS.items()},
        "supported_clocks": _supported_clocks,
        "default_application_clocks.graphics": partial(_application_clock, _CLOCKS["graphics"]),
        "default_application_clocks.memory": partial(_application_clock, _CLOCKS["memory"]),
    }
    for leaf, reader in asked.items():
        value = _asked(nvml, gpu, reader)
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
        remote = _asked(nvml, gpu, partial(_remote, link))
        if remote is not None:
            ends[_text(remote)] += 1
    if ends:
        yield "nvlink.ends", " ".join(f"{end}={count}" for end, count in sorted(ends.items()))


def _threshold(number: int, nvml: ModuleType, gpu: Any) -> object:  # noqa: ANN401
    return nvml.nvmlDeviceGetTemperatureThreshold(gpu, number)


def _remote(link: int, nvml: ModuleType, gpu: Any) -> object:  # noqa: ANN401
    return _bus(_text(nvml.nvmlDeviceGetNvLinkRemotePciInfo(gpu, link).busId))


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
    if serial := _text(told.chassisSerialNumber):
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


def _bus(text: str) -> str:
    """Write an NVML bus id as the kernel does."""
    domain, _, rest = text.lower().partition(":")
    return f"{int(domain, 16):04x}:{rest}"


def _true(_told: object) -> str:
    return "true"


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
