"""nvmlVgpuType*: what a vGPU type is, whichever GPU of the node offers it.

Nothing documents the sizes of GSP heap, frame buffer reservation and BAR1 per type; they follow here from the frame
buffer's size (docs/nvml-functions.md lists them as unverified).
"""

from __future__ import annotations

from claimwright.emulator.model import Board
from claimwright.emulator.model.vgpu import VgpuType, type_of, types_of
from claimwright.emulator.nvml._generated import records as r
from claimwright.emulator.nvml.answers.call import Call, Refused
from claimwright.emulator.nvml.handles import Handle
from claimwright.emulator.nvml.layout import Result

_NO_PROFILE = 0xFFFFFFFF  # INVALID_GPU_INSTANCE_PROFILE_ID
_PER_MACHINE = {"C": 16, "Q": 16}  # several vGPUs in one machine: compute and workstation types
_MIB = 1 << 20
_SMALLEST_BAR1_MIB = 256


def find(call: Call, type_id: int) -> tuple[Board, VgpuType]:
    """Return a type and a board that offers it."""
    for gpu in call.state.gpus if call.state.vgpu_manager else ():
        if type_id in types_of(gpu.board.vgpu):
            return gpu.board, type_of(gpu.board.vgpu, type_id)
    raise Refused(Result.INVALID_ARGUMENT)


def full_name(board: Board, kind: VgpuType) -> str:
    """Return the name with the brand before it: boards of the mdev era say GRID."""
    assert board.vgpu is not None
    return f"{'GRID' if board.vgpu.framework == 'mdev' else 'NVIDIA'} {kind.name}"


def get_class(call: Call, type_id: int) -> str:
    """Return Quadro, NVS or Compute."""
    return find(call, type_id)[1].class_name


def get_name(call: Call, type_id: int) -> str:
    """Return the type's name."""
    return full_name(*find(call, type_id))


def get_license(call: Call, type_id: int) -> str:
    """Return which products license it."""
    return find(call, type_id)[1].license


def get_gpu_instance_profile(call: Call, type_id: int) -> int:
    """Return the profile that backs it, or the invalid one for time-sliced types."""
    profile = find(call, type_id)[1].profile
    return _NO_PROFILE if profile is None else profile


def get_device_id(call: Call, type_id: int) -> tuple[int, int]:
    """Return device and subsystem ids as the guest sees them; the type's id tells subsystems apart."""
    board, kind = find(call, type_id)
    return board.pci.nvml_device_id, (kind.id & 0xFFFF) << 16 | board.pci.subsystem_vendor


def get_framebuffer_size(call: Call, type_id: int) -> int:
    """Return bytes."""
    return find(call, type_id)[1].framebuffer_mib * _MIB


def get_framebuffer_reservation(call: Call, type_id: int) -> int:
    """Return what the guest cannot use, bytes."""
    kind = find(call, type_id)[1]
    return (kind.framebuffer_mib // 16 + 64) * _MIB


def get_gsp_heap_size(call: Call, type_id: int) -> int:
    """Return bytes of the firmware's heap; Turing vGPUs run without the firmware."""
    board, kind = find(call, type_id)
    assert board.vgpu is not None
    return 0 if board.vgpu.framework == "mdev" else (64 + kind.framebuffer_mib // 1024) * _MIB


def get_display_heads(call: Call, type_id: int) -> int:
    """Return the number of virtual displays."""
    return find(call, type_id)[1].heads


def get_resolution(call: Call, type_id: int, display: int) -> tuple[int, int]:
    """Return width and height of one display."""
    kind = find(call, type_id)[1]
    if display >= kind.heads:
        raise Refused(Result.INVALID_ARGUMENT)
    return kind.resolution


def get_frame_rate_limit(call: Call, type_id: int) -> int:
    """Return frames per second; a type without limiter is not supported."""
    limit = find(call, type_id)[1].frame_rate_limit
    if not limit:
        raise Refused(Result.NOT_SUPPORTED)
    return limit


def get_most_instances(call: Call, device: Handle, type_id: int) -> int:
    """Return how many fit on this GPU when it is empty, in its present mode."""
    gpu = call.gpu(device)
    if not call.state.vgpu_manager or gpu.board.vgpu is None:
        raise Refused(Result.NOT_SUPPORTED)
    kind = type_of(gpu.board.vgpu, type_id)
    return kind.mixed if gpu.vgpu.mixed_sizes else kind.per_gpu


def get_most_instances_per_machine(call: Call, type_id: int) -> int:
    """Return how many one virtual machine may have."""
    return _PER_MACHINE.get(find(call, type_id)[1].series, 1)


def get_most_instances_per_gpu_instance(call: Call, record: r.nvmlVgpuTypeMaxInstance_v1_t) -> None:
    """Return how many share one GPU instance; time-sliced types share none."""
    kind = find(call, record.vgpuTypeId)[1]
    if kind.profile is None:
        raise Refused(Result.NOT_SUPPORTED)
    record.maxInstancePerGI = kind.per_instance


def get_bar1(call: Call, type_id: int, record: r.nvmlVgpuTypeBar1Info_v1_t) -> None:
    """Return the guest's BAR1, MiB: a power of two."""
    board, kind = find(call, type_id)
    share = max(board.memory.bar1_mib // kind.per_gpu, 1)
    record.bar1Size = max(_SMALLEST_BAR1_MIB, 1 << share.bit_length() - 1)


def get_capabilities(call: Call, type_id: int, capability: int) -> int:
    """Return one of nvmlVgpuCapability_t."""
    board, kind = find(call, type_id)
    assert board.vgpu is not None
    mediated, whole = board.vgpu.framework == "mdev", kind.per_gpu == 1
    known = {
        0: board.nvlink is not None and kind.series == "C" and whole,  # NVLink peers
        1: kind.series in "CQ" and not mediated,  # GPUDirect
        2: mediated and kind.series not in "CQ",  # alone in its machine
        3: False,  # alone of its type
        4: mediated,  # only beside vGPUs of its size
    }
    if capability not in known:
        raise Refused(Result.INVALID_ARGUMENT)
    return int(known[capability])


ANSWERS = {
    "nvmlVgpuTypeGetBAR1Info": get_bar1,
    "nvmlVgpuTypeGetCapabilities": get_capabilities,
    "nvmlVgpuTypeGetClass": get_class,
    "nvmlVgpuTypeGetDeviceID": get_device_id,
    "nvmlVgpuTypeGetFbReservation": get_framebuffer_reservation,
    "nvmlVgpuTypeGetFrameRateLimit": get_frame_rate_limit,
    "nvmlVgpuTypeGetFramebufferSize": get_framebuffer_size,
    "nvmlVgpuTypeGetGpuInstanceProfileId": get_gpu_instance_profile,
    "nvmlVgpuTypeGetGspHeapSize": get_gsp_heap_size,
    "nvmlVgpuTypeGetLicense": get_license,
    "nvmlVgpuTypeGetMaxInstances": get_most_instances,
    "nvmlVgpuTypeGetMaxInstancesPerGpuInstance": get_most_instances_per_gpu_instance,
    "nvmlVgpuTypeGetMaxInstancesPerVm": get_most_instances_per_machine,
    "nvmlVgpuTypeGetName": get_name,
    "nvmlVgpuTypeGetNumDisplayHeads": get_display_heads,
    "nvmlVgpuTypeGetResolution": get_resolution,
}
