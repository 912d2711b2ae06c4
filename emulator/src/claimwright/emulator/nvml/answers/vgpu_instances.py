"""nvmlVgpuInstance*: vGPUs that a virtual machine has open, and the machine as the host sees it."""

from __future__ import annotations

from claimwright.emulator.model.operations import vgpu
from claimwright.emulator.model.vgpu import GuestProcess, Vgpu, VirtualMachine
from claimwright.emulator.nvml._generated import records as r
from claimwright.emulator.nvml.answers.call import Call, Refused
from claimwright.emulator.nvml.answers.vgpu_hosts import host
from claimwright.emulator.nvml.handles import Handle
from claimwright.emulator.nvml.layout import Result

_NO_INSTANCE = 0xFFFFFFFF  # INVALID_GPU_INSTANCE_ID
_VM_ID_IS_UUID = 1
_LICENSED, _UNLICENSED, _UNINITIALIZED = 5, 4, 1  # NVML_GRID_LICENSE_STATE_*
_GUEST_SLOT = "00000000:06:00.0"  # where machine types put the first passed-through device
_RUNTIME_STATE_BYTES = 16 << 20


def find(call: Call, number: int) -> tuple[Vgpu, VirtualMachine]:
    """Return a running vGPU by its instance number and its machine."""
    if number == 0:
        raise Refused(Result.INVALID_ARGUMENT)
    for each in call.state.vgpus:
        if each.id == number and each.vm is not None:
            return each, each.vm
    raise Refused(Result.NOT_FOUND)


def get_active(call: Call, device: Handle) -> list[int]:
    """Return the numbers of the vGPUs of a GPU on which machines run."""
    gpu = host(call, device)
    return [each.id for each in call.state.vgpus if each.gpu == gpu.index and each.vm is not None]


def get_vm_id(call: Call, number: int) -> tuple[str, int]:
    """Return the machine's UUID."""
    return find(call, number)[1].uuid, _VM_ID_IS_UUID


def get_uuid(call: Call, number: int) -> str:
    """Return the vGPU's own UUID."""
    return find(call, number)[0].uuid


def get_mdev_uuid(call: Call, number: int) -> str:
    """Return the mediated device's UUID; vGPUs on virtual functions have none."""
    found = find(call, number)[0]
    if not found.is_mediated:
        raise Refused(Result.NOT_SUPPORTED)
    return found.carrier


def get_driver_version(call: Call, number: int) -> str:
    """Return the guest's driver version, once it has loaded one."""
    return find(call, number)[1].driver_version or "Not Available"


def get_framebuffer_usage(call: Call, number: int) -> int:
    """Return bytes that the guest's processes use."""
    return sum(process.memory_bytes for process in find(call, number)[1].processes)


def get_type(call: Call, number: int) -> int:
    """Return the type's id."""
    return find(call, number)[0].type_id


def get_placement(call: Call, number: int, record: r.nvmlVgpuPlacementId_v1_t) -> None:
    """Return the first slot that the vGPU takes."""
    record.placementId = find(call, number)[0].placement


def get_runtime_state(call: Call, number: int, record: r.nvmlVgpuRuntimeState_v1_t) -> None:
    """Return what a migration has to carry beside the frame buffer, bytes."""
    find(call, number)
    record.size = _RUNTIME_STATE_BYTES


def get_frame_rate_limit(call: Call, number: int) -> int:
    """Return frames per second, 0 without a limit."""
    return find(call, number)[0].frame_rate_limit


def get_ecc_mode(call: Call, number: int) -> int:
    """Return whether the GPU's memory is protected."""
    gpu = call.state.gpus[find(call, number)[0].gpu]
    if gpu.ecc is None:
        raise Refused(Result.NOT_SUPPORTED)
    return int(gpu.ecc.current)


def get_gpu_instance(call: Call, number: int) -> int:
    """Return the GPU instance that backs it."""
    instance = find(call, number)[0].gpu_instance
    return _NO_INSTANCE if instance is None else instance


def get_guest_address(call: Call, number: int) -> str:
    """Return where the guest sees it: known once the guest's driver is loaded."""
    return _GUEST_SLOT if find(call, number)[1].driver_version else "00000000:00:00.0"


def get_encoder_capacity(call: Call, number: int) -> int:
    """Return the share of the encoder, percent."""
    return find(call, number)[0].encoder_capacity


def set_encoder_capacity(call: Call, number: int, percent: int) -> None:
    """Set the share of the encoder."""
    call.need_admin()
    call.perform(vgpu.set_encoder_capacity, find(call, number)[0].carrier, percent)


def get_encoder_stats(call: Call, number: int) -> tuple[int, int, int]:
    """Return sessions, frames per second and latency: guests here encode nothing."""
    find(call, number)
    return 0, 0, 0


def get_encoder_sessions(call: Call, number: int) -> list[r.nvmlEncoderSessionInfo_t]:
    """Return the encoder sessions: none."""
    find(call, number)
    return []


def get_capture_stats(call: Call, number: int, record: r.nvmlFBCStats_t) -> None:
    """Return frame buffer capture: guests here capture nothing."""
    find(call, number)
    record.sessionsCount = record.averageFPS = record.averageLatency = 0


def get_capture_sessions(call: Call, number: int) -> list[r.nvmlFBCSessionInfo_t]:
    """Return the capture sessions: none."""
    find(call, number)
    return []


def get_license_status(call: Call, number: int) -> int:
    """Return whether the guest has a license."""
    return int(find(call, number)[1].licensed)


def get_license(call: Call, number: int, record: r.nvmlVgpuLicenseInfo_t) -> None:
    """Return the license state; this license does not expire."""
    machine = find(call, number)[1]
    record.isLicensed = int(machine.licensed)
    record.licenseExpiry.status = 4 if machine.licensed else 0  # permanent, or not available
    loaded = _LICENSED if machine.licensed else _UNLICENSED
    record.currentState = loaded if machine.driver_version else _UNINITIALIZED


def get_accounting_mode(call: Call, number: int) -> int:
    """Return whether the guest keeps figures of ended processes."""
    return int(find(call, number)[1].accounting)


def get_accounting_pids(call: Call, number: int) -> list[int]:
    """Return processes with figures: running ones and ended ones."""
    return [process.pid for process in _accounted(call, number)]


def get_accounting_stats(call: Call, number: int, pid: int, record: r.nvmlAccountingStats_t) -> None:
    """Return the figures of one process."""
    machine = find(call, number)[1]
    for process in _accounted(call, number):
        if process.pid == pid:
            record.gpuUtilization = process.gpu_percent
            record.memoryUtilization = process.memory_percent
            record.maxMemoryUsage = process.memory_bytes
            record.isRunning = int(process in machine.processes)
            return
    raise Refused(Result.NOT_FOUND)


def clear_accounting(call: Call, number: int) -> None:
    """Forget ended processes."""
    call.need_admin()
    found, machine = find(call, number)
    if not machine.accounting:
        raise Refused(Result.NOT_SUPPORTED)
    call.perform(vgpu.clear_guest_accounting, found.carrier)


def _accounted(call: Call, number: int) -> tuple[GuestProcess, ...]:
    machine = find(call, number)[1]
    if not machine.accounting:
        raise Refused(Result.NOT_SUPPORTED)
    return (*machine.processes, *machine.finished)


ANSWERS = {
    "nvmlDeviceGetActiveVgpus": get_active,
    "nvmlVgpuInstanceClearAccountingPids": clear_accounting,
    "nvmlVgpuInstanceGetAccountingMode": get_accounting_mode,
    "nvmlVgpuInstanceGetAccountingPids": get_accounting_pids,
    "nvmlVgpuInstanceGetAccountingStats": get_accounting_stats,
    "nvmlVgpuInstanceGetEccMode": get_ecc_mode,
    "nvmlVgpuInstanceGetEncoderCapacity": get_encoder_capacity,
    "nvmlVgpuInstanceGetEncoderSessions": get_encoder_sessions,
    "nvmlVgpuInstanceGetEncoderStats": get_encoder_stats,
    "nvmlVgpuInstanceGetFBCSessions": get_capture_sessions,
    "nvmlVgpuInstanceGetFBCStats": get_capture_stats,
    "nvmlVgpuInstanceGetFbUsage": get_framebuffer_usage,
    "nvmlVgpuInstanceGetFrameRateLimit": get_frame_rate_limit,
    "nvmlVgpuInstanceGetGpuInstanceId": get_gpu_instance,
    "nvmlVgpuInstanceGetGpuPciId": get_guest_address,
    "nvmlVgpuInstanceGetLicenseInfo": get_license,
    "nvmlVgpuInstanceGetLicenseInfo_v2": get_license,
    "nvmlVgpuInstanceGetLicenseStatus": get_license_status,
    "nvmlVgpuInstanceGetMdevUUID": get_mdev_uuid,
    "nvmlVgpuInstanceGetPlacementId": get_placement,
    "nvmlVgpuInstanceGetRuntimeStateSize": get_runtime_state,
    "nvmlVgpuInstanceGetType": get_type,
    "nvmlVgpuInstanceGetUUID": get_uuid,
    "nvmlVgpuInstanceGetVmDriverVersion": get_driver_version,
    "nvmlVgpuInstanceGetVmID": get_vm_id,
    "nvmlVgpuInstanceSetEncoderCapacity": set_encoder_capacity,
}
