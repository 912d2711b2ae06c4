"""vGPU versions and metadata: whether a machine that runs here could run there.

A version is major << 16 | minor. Machines with a guest driver outside the host's range can only be started anew.
"""

from __future__ import annotations

from claimwright.emulator.model.operations import vgpu
from claimwright.emulator.model.vgpu.state import VGPU_VERSIONS
from claimwright.emulator.nvml._generated import records as r
from claimwright.emulator.nvml.answers.call import Call, Refused
from claimwright.emulator.nvml.answers.vgpu_hosts import host
from claimwright.emulator.nvml.answers.vgpu_instances import find
from claimwright.emulator.nvml.handles import Handle
from claimwright.emulator.nvml.layout import Result

_METADATA_VERSION, _REVISION = 3, 1
_COLD, _HIBERNATE, _SLEEP, _LIVE = 1, 2, 4, 8  # nvmlVgpuVmCompatibility_t
_BY_HOST, _BY_GUEST, _BY_GPU = 1, 2, 4  # nvmlVgpuPgpuCompatibilityLimitCode_t
_MIGRATION = 1


def get_versions(call: Call, supported: r.nvmlVgpuVersion_t, current: r.nvmlVgpuVersion_t) -> None:
    """Return the range that the host's driver can, and the part of it that is enforced."""
    _need_manager(call)
    supported.minVersion, supported.maxVersion = VGPU_VERSIONS
    current.minVersion, current.maxVersion = call.state.vgpu_versions


def set_versions(call: Call, record: r.nvmlVgpuVersion_t) -> None:
    """Enforce a part of the range."""
    call.need_admin()
    _need_manager(call)
    call.perform(vgpu.set_vgpu_versions, record.minVersion, record.maxVersion)


def get_machine_metadata(call: Call, number: int) -> bytes:
    """Return what describes a running vGPU and its machine."""
    found, machine = find(call, number)
    record = r.nvmlVgpuMetadata_t(version=_METADATA_VERSION, revision=_REVISION)
    record.guestInfoState = int(machine.driver_version is not None)
    record.guestDriverVersion = (machine.driver_version or "").encode()[:79]
    record.hostDriverVersion = call.state.driver_version.encode()[:79]
    record.vgpuVirtualizationCaps = _MIGRATION
    record.guestVgpuVersion = call.state.vgpu_versions[1] if machine.driver_version else 0
    record.opaqueDataSize = 4
    record.opaqueData = _chip(call, found.gpu)
    return bytes(record)


def get_gpu_metadata(call: Call, device: Handle) -> bytes:
    """Return what describes a GPU that hosts vGPUs."""
    gpu = host(call, device)
    record = r.nvmlVgpuPgpuMetadata_t(version=_METADATA_VERSION, revision=_REVISION)
    record.hostDriverVersion = call.state.driver_version.encode()[:79]
    record.pgpuVirtualizationCaps = _MIGRATION
    record.hostSupportedVgpuRange.minVersion, record.hostSupportedVgpuRange.maxVersion = (
        call.state.vgpu_versions
    )
    record.opaqueDataSize = 4
    record.opaqueData = _chip(call, gpu.index)
    return bytes(record)


def get_gpu_metadata_text(call: Call, device: Handle) -> str:
    """Return the same as text (nvmlDeviceGetPgpuMetadataString); its form is the driver's own affair."""
    gpu = host(call, device)
    lowest, highest = call.state.vgpu_versions
    return (
        f"version={_METADATA_VERSION};host={call.state.driver_version};"
        f"vgpu={lowest:#x}-{highest:#x};chip={_chip(call, gpu.index).decode()}"
    )


def get_compatibility(
    call: Call,
    machine: r.nvmlVgpuMetadata_t,
    gpu: r.nvmlVgpuPgpuMetadata_t,
    answer: r.nvmlVgpuPgpuCompatibility_t,
) -> None:
    """Say from two metadata records in which states the machine could run on the GPU."""
    _need_manager(call)
    if machine.version != _METADATA_VERSION or gpu.version != _METADATA_VERSION:
        raise Refused(Result.ARGUMENT_VERSION_MISMATCH)
    limits = _limits(machine, gpu)
    answer.compatibilityLimitCode = limits
    if limits & _BY_GPU:
        answer.vgpuVmCompatibility = 0
    else:
        answer.vgpuVmCompatibility = _COLD if limits else _COLD | _HIBERNATE | _SLEEP | _LIVE


def _limits(machine: r.nvmlVgpuMetadata_t, gpu: r.nvmlVgpuPgpuMetadata_t) -> int:
    limits = 0 if machine.opaqueData == gpu.opaqueData else _BY_GPU
    if machine.guestInfoState == 0:
        return limits | _BY_GUEST
    supported = gpu.hostSupportedVgpuRange
    if not supported.minVersion <= machine.guestVgpuVersion <= supported.maxVersion:
        limits |= _BY_HOST
    return limits


def _chip(call: Call, gpu: int) -> bytes:
    """Return four bytes that are equal for GPUs between which a machine may move: the board's device id."""
    return f"{call.state.gpus[gpu].board.pci.device:04X}".encode()


def _need_manager(call: Call) -> None:
    if not call.state.vgpu_manager:
        raise Refused(Result.NOT_SUPPORTED)


ANSWERS = {
    "nvmlDeviceGetPgpuMetadataString": get_gpu_metadata_text,
    "nvmlDeviceGetVgpuMetadata": get_gpu_metadata,
    "nvmlGetVgpuCompatibility": get_compatibility,
    "nvmlGetVgpuVersion": get_versions,
    "nvmlSetVgpuVersion": set_versions,
    "nvmlVgpuInstanceGetMetadata": get_machine_metadata,
}
