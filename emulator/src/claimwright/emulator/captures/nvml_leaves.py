"""What NVML tells of a machine: pynvml loads the `libnvidia-ml.so.1` that the loader finds."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from claimwright.emulator.captures.errors import NothingToRecord
from claimwright.emulator.captures.nvml_asking import GONE, MIB, Leaf, Reader, asked, bus, text
from claimwright.emulator.captures.nvml_parts import PARTS
from claimwright.emulator.model import Architecture, Brand

_VIRTUALIZATION = ("none", "pass_through", "vgpu", "host_vgpu", "host_vsga")  # nvmlGpuVirtualizationMode_t


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
        yield "driver.version", text(pynvml.nvmlSystemGetDriverVersion())
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
        value = asked(nvml, gpu, reader)
        if value is not None:
            yield leaf, text(value)
    for part in PARTS:
        try:
            yield from part(nvml, gpu)
        except nvml.NVMLError as error:
            if error.value in GONE:
                raise
            continue  # the board does not tell this, or the driver does not know the function


def _true(_told: object) -> str:
    return "true"


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
    "at": lambda nvml, gpu: bus(text(nvml.nvmlDeviceGetPciInfo(gpu).busId)),
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
    "memory.bar1_mib": lambda nvml, gpu: nvml.nvmlDeviceGetBAR1MemoryInfo(gpu).bar1Total // MIB,
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
