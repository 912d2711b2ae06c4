"""MIG devices: how they are found, and what the getters of a GPU answer about one.

Where a getter is not here, a MIG device answers as its GPU (nvml.inherited) or INVALID_ARGUMENT.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ctypes import Structure

from claimwright.emulator.model import MIB, GpuProcess, GpuState, ProcessKind
from claimwright.emulator.model.mig import ComputeInstance, GpuInstance, compute_profile_name
from claimwright.emulator.nvml._generated import records as r
from claimwright.emulator.nvml.answers.call import Call, Refused
from claimwright.emulator.nvml.answers.compute_instances import compute_instance
from claimwright.emulator.nvml.answers.mig import switched_on
from claimwright.emulator.nvml.handles import Handle, gpu_handle, mig_device_handle
from claimwright.emulator.nvml.layout import Result

# The form before R470, which the driver still reads (nvml-and-sysfs.md §1).
_OLD_UUID = re.compile(r"MIG-(GPU-[0-9a-f-]{36})/(\d{1,3})/(\d{1,3})", re.IGNORECASE)
_ASCII = 1  # NVML_UUID_TYPE_ASCII
# nvmlMemoryErrorType_t, nvmlEccCounterType_t, nvmlMemoryLocation_t
_UNCORRECTED, _VOLATILE, _SRAM = 1, 0, 7
_ANY_KIND = 3  # nvmlProcessMode_t beyond the kinds
_KINDS = {0: ProcessKind.COMPUTE, 1: ProcessKind.GRAPHICS}


def get_handle_by_index(call: Call, device: Handle, index: int) -> Handle:
    """Return the MIG device of an index; callers count to the maximum and skip NOT_FOUND."""
    gpu, spec, state = switched_on(call, device)
    if index >= spec.most_devices:
        raise Refused(Result.INVALID_ARGUMENT)
    found = list(state.devices())
    if index >= len(found):
        raise Refused(Result.NOT_FOUND)
    held, compute = found[index]
    return mig_device_handle(gpu.index, held.id, compute.id)


def get_handle_by_uuid(call: Call, uuid: str) -> Handle:
    """Find a MIG device by its UUID, of today's form or `MIG-GPU-<uuid>/<gi>/<ci>`."""
    old = _OLD_UUID.fullmatch(uuid)
    for gpu in call.state.nvml_gpus:
        for held, compute in gpu.mig.devices() if gpu.mig and not gpu.lost else ():
            place = (gpu.uuid, held.id, compute.id)
            named = old is not None and (old[1].replace("gpu-", "GPU-"), int(old[2]), int(old[3])) == place
            if named or compute.uuid == uuid:
                return mig_device_handle(gpu.index, held.id, compute.id)
    raise Refused(Result.NOT_FOUND)


def get_handle_by_uuid_record(call: Call, wanted: Structure) -> Handle:
    """Find a MIG device by a UUID as text or as 16 bytes."""
    value = wanted.value
    if wanted.type == _ASCII:
        return get_handle_by_uuid(call, bytes(value.str).decode(errors="replace"))
    digits = bytes(value.bytes).hex()
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return get_handle_by_uuid(call, f"MIG-{'-'.join(parts)}")


def get_attributes(call: Call, device: Handle, attributes: Structure) -> None:
    """Describe what a MIG device has; a whole GPU is NOT_SUPPORTED, as nvml.h notes."""
    if not device.is_mig_device:
        raise Refused(Result.NOT_SUPPORTED)
    gpu, held, compute = compute_instance(call, device)
    spec = gpu.board.mig
    assert spec is not None
    profile, cut = spec.by_id[held.profile], spec.compute(held.profile)[compute.profile]
    values = {
        "multiprocessorCount": cut.multiprocessors,
        "sharedCopyEngineCount": profile.copy_engines,
        "sharedDecoderCount": profile.decoders,
        "sharedEncoderCount": profile.encoders,
        "sharedJpegCount": profile.jpeg_engines,
        "sharedOfaCount": profile.optical_flow,
        "gpuInstanceSliceCount": profile.slices,
        "computeInstanceSliceCount": cut.slices,
        "memorySizeMB": profile.memory_mib,
    }
    for name, value in values.items():
        setattr(attributes, name, value)


def is_mig_device(call: Call, device: Handle) -> int:
    """Tell that a handle of this kind is a MIG device's, if it still exists."""
    compute_instance(call, device)
    return 1


def get_gpu_instance_id(call: Call, device: Handle) -> int:
    """Return the id of a MIG device's GPU instance; NOT_SUPPORTED for a whole GPU."""
    return _parts(call, device)[1].id


def get_compute_instance_id(call: Call, device: Handle) -> int:
    """Return the id of a MIG device's compute instance; NOT_SUPPORTED for a whole GPU."""
    return _parts(call, device)[2].id


def get_parent(call: Call, device: Handle) -> Handle:
    """Return the GPU of a MIG device."""
    if not device.is_mig_device:
        raise Refused(Result.INVALID_ARGUMENT)
    compute_instance(call, device)
    return gpu_handle(device.gpu)


def get_name(call: Call, device: Handle, _length: int = 0) -> str:
    """Return `NVIDIA H100 80GB HBM3 MIG 1g.10gb`."""
    gpu, held, compute = compute_instance(call, device)
    spec = gpu.board.mig
    assert spec is not None
    profile, cut = spec.by_id[held.profile], spec.compute(held.profile)[compute.profile]
    return f"{gpu.board.name} MIG {compute_profile_name(cut, profile, gpu.board.memory.total_mib)}"


def get_uuid(call: Call, device: Handle, _length: int = 0) -> str:
    """Return `MIG-…`."""
    return compute_instance(call, device)[2].uuid


def get_index(call: Call, device: Handle) -> int:
    """Return the index among the MIG devices of its GPU."""
    gpu, held, compute = compute_instance(call, device)
    assert gpu.mig is not None
    return [(one.id, other.id) for one, other in gpu.mig.devices()].index((held.id, compute.id))


def get_memory(call: Call, device: Handle, info: Structure) -> None:
    """Return the GPU instance's memory: compute instances share it."""
    gpu, held, _ = compute_instance(call, device)
    free, used = gpu.instance_memory_free_bytes(held.id), gpu.instance_memory_used_bytes(held.id)
    info.total, info.free, info.used = free + used, free, used
    if isinstance(info, r.nvmlMemory_v2_t):
        info.reserved = 0


def get_bar1(call: Call, device: Handle, info: Structure) -> None:
    """Return its share of BAR1, by memory slices, of which the driver keeps a MiB (8191 MiB of 64 GiB for one)."""
    gpu, held, _ = compute_instance(call, device)
    spec = gpu.board.mig
    assert spec is not None
    share = gpu.board.memory.bar1_mib * held.placement.size // spec.memory_slices - 1
    info.bar1Total = info.bar1Free = max(share, 0) * MIB
    info.bar1Used = 0


def get_error_count(call: Call, device: Handle, kind: int, counter: int, location: int) -> int:
    """Count what NVML counts for an instance: uncorrected SRAM errors since the driver was loaded."""
    gpu, _, _ = compute_instance(call, device)
    if (
        (kind, counter, location) != (_UNCORRECTED, _VOLATILE, _SRAM)
        or gpu.ecc is None
        or not gpu.ecc.current
    ):
        raise Refused(Result.NOT_SUPPORTED)
    return 0


def get_process_details(call: Call, device: Handle, listing: Structure) -> list[Structure]:
    """List the processes in a MIG device, of one kind or of all."""
    mode = listing.mode
    if mode > _ANY_KIND:
        raise Refused(Result.INVALID_ARGUMENT)
    gpu, held, compute = compute_instance(call, device)
    found = _inside(gpu, held, compute)
    wanted = [each for each in found if mode == _ANY_KIND or each.kind is _KINDS.get(mode)]
    return [r.nvmlProcessDetail_v1_t(*_process(each), 0) for each in wanted]


def refuse(_call: Call, _device: Handle, *_arguments: object) -> None:
    """Refuse what NVML does not tell of MIG devices: utilization, events."""
    raise Refused(Result.NOT_SUPPORTED)


def _processes(
    kind: ProcessKind | None, record: type[Structure]
) -> Callable[[Call, Handle], list[Structure]]:
    """Make the answer of one process list: its kind of process, and its version's record."""
    members = len(record._fields_)

    def listed(call: Call, device: Handle) -> list[Structure]:
        found = _inside(*compute_instance(call, device))
        return [record(*_process(each)[:members]) for each in found if each.kind is kind]

    return listed


def _inside(gpu: GpuState, held: GpuInstance, compute: ComputeInstance) -> list[GpuProcess]:
    place = (held.id, compute.id)
    return [each for each in gpu.processes if (each.gpu_instance, each.compute_instance) == place]


def _process(process: GpuProcess) -> tuple[int, int, int, int]:
    assert process.gpu_instance is not None
    assert process.compute_instance is not None
    return process.pid, process.memory_bytes, process.gpu_instance, process.compute_instance


def _parts(call: Call, device: Handle) -> tuple[GpuState, GpuInstance, ComputeInstance]:
    if not device.is_mig_device:
        raise Refused(Result.NOT_SUPPORTED)
    return compute_instance(call, device)


_LISTS = {"Compute": ProcessKind.COMPUTE, "Graphics": ProcessKind.GRAPHICS, "MPSCompute": None}
_VERSIONS = {"": r.nvmlProcessInfo_v1_t, "_v2": r.nvmlProcessInfo_v2_t, "_v3": r.nvmlProcessInfo_t}

ANSWERS = {
    "nvmlDeviceGetMigDeviceHandleByIndex": get_handle_by_index,
    "nvmlDeviceGetHandleByUUID": get_handle_by_uuid,
    "nvmlDeviceGetHandleByUUIDV": get_handle_by_uuid_record,
    "nvmlDeviceGetAttributes": get_attributes,
    "nvmlDeviceGetAttributes_v2": get_attributes,
    "nvmlDeviceIsMigDeviceHandle": is_mig_device,
    "nvmlDeviceGetGpuInstanceId": get_gpu_instance_id,
    "nvmlDeviceGetComputeInstanceId": get_compute_instance_id,
    "nvmlDeviceGetDeviceHandleFromMigDeviceHandle": get_parent,
    "nvmlDeviceGetName": get_name,
    "nvmlDeviceGetUUID": get_uuid,
    "nvmlDeviceGetIndex": get_index,
    "nvmlDeviceGetMemoryInfo": get_memory,
    "nvmlDeviceGetMemoryInfo_v2": get_memory,
    "nvmlDeviceGetBAR1MemoryInfo": get_bar1,
    "nvmlDeviceGetMemoryErrorCounter": get_error_count,
    "nvmlDeviceGetRunningProcessDetailList": get_process_details,
    **{
        f"nvmlDeviceGet{name}RunningProcesses{version}": _processes(kind, record)
        for name, kind in _LISTS.items()
        for version, record in _VERSIONS.items()
    },
    **dict.fromkeys(
        (
            "nvmlDeviceGetUtilizationRates",
            "nvmlDeviceGetEncoderUtilization",
            "nvmlDeviceGetDecoderUtilization",
            "nvmlDeviceGetJpgUtilization",
            "nvmlDeviceGetOfaUtilization",
            "nvmlDeviceGetProcessUtilization",
            "nvmlDeviceGetSupportedEventTypes",
        ),
        refuse,
    ),
}
