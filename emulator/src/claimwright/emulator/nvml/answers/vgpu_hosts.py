"""nvmlDevice*Vgpu*: a GPU as a host of vGPUs: types, placements, modes, capabilities."""

from __future__ import annotations

from claimwright.emulator.model import GpuState
from claimwright.emulator.model.operations import vgpu
from claimwright.emulator.model.vgpu import creatable_types, type_of, types_of
from claimwright.emulator.model.vgpu.capacity import all_placements, placement_size
from claimwright.emulator.nvml._generated import records as r
from claimwright.emulator.nvml.answers.call import Call, Refused
from claimwright.emulator.nvml.handles import Handle
from claimwright.emulator.nvml.layout import Result

_HETEROGENEOUS, _HOMOGENEOUS = 0, 1  # NVML_VGPU_PGPU_*_MODE
_CAPABILITIES = 13  # NVML_DEVICE_VGPU_CAP_COUNT
_SETTABLE = {6, 7, 11}  # mini-quarter, compute media engine, MIG time slicing
_LANE_MEGABYTES = {3: 985, 4: 1969, 5: 3938, 6: 7563}  # per second, by PCIe generation


def host(call: Call, device: Handle) -> GpuState:
    """Return the GPU, which hosts vGPUs; NOT_SUPPORTED where it does not."""
    gpu = call.gpu(device)
    if not call.state.vgpu_manager or gpu.board.vgpu is None:
        raise Refused(Result.NOT_SUPPORTED)
    return gpu


def get_host_mode(call: Call, device: Handle) -> int:
    """Return 1 where vGPUs are on virtual functions, 0 where they are mediated devices."""
    spec = host(call, device).board.vgpu
    assert spec is not None
    return int(spec.framework == "vendor-specific")


def get_supported(call: Call, device: Handle) -> list[int]:
    """Return the ids of all types that this GPU could carry in its present MIG mode."""
    gpu = host(call, device)
    cut = vgpu.mig_is_on(gpu)
    return [kind.id for kind in types_of(gpu.board.vgpu).values() if (kind.profile is not None) == cut]


def get_creatable(call: Call, device: Handle) -> list[int]:
    """Return the ids of the types of which one more fits now."""
    gpu = host(call, device)
    kinds = creatable_types(
        types_of(gpu.board.vgpu),
        vgpu.placed_on(call.state, gpu),
        vgpu.instances_on(gpu),
        mixed=gpu.vgpu.mixed_sizes,
        mig=vgpu.mig_is_on(gpu),
    )
    return [kind.id for kind in kinds]


def get_mixed_sizes(call: Call, device: Handle, record: r.nvmlVgpuHeterogeneousMode_v1_t) -> None:
    """Return whether vGPUs of several sizes may share this GPU."""
    record.mode = int(_sharing(call, device).vgpu.mixed_sizes)


def set_mixed_sizes(call: Call, device: Handle, record: r.nvmlVgpuHeterogeneousMode_v1_t) -> None:
    """Let them, or not."""
    call.need_admin()
    _sharing(call, device)
    if record.mode > 1:
        raise Refused(Result.INVALID_ARGUMENT)
    call.perform(vgpu.set_mixed_sizes, device.gpu, enabled=bool(record.mode))


def get_supported_placements(
    call: Call,
    device: Handle,
    type_id: int,
    record: r.nvmlVgpuPlacementList_v1_t | r.nvmlVgpuPlacementList_v2_t,
) -> list[int]:
    """Return the first slots that a type may take on an empty GPU, in the mode asked for (version 1: mixed)."""
    gpu = host(call, device)
    kind, types, mixed = type_of(gpu.board.vgpu, type_id), types_of(gpu.board.vgpu).values(), _mixed(record)
    record.placementSize = placement_size(kind, types, mixed=mixed)
    return list(all_placements(kind, types, mixed=mixed))


def get_creatable_placements(
    call: Call,
    device: Handle,
    type_id: int,
    record: r.nvmlVgpuPlacementList_v1_t | r.nvmlVgpuPlacementList_v2_t,
) -> list[int]:
    """Return the first slots that are free for a type now; the mode asked for must be the GPU's."""
    gpu = host(call, device)
    kind, types, mixed = type_of(gpu.board.vgpu, type_id), types_of(gpu.board.vgpu).values(), _mixed(record)
    if mixed != gpu.vgpu.mixed_sizes:
        raise Refused(Result.NOT_SUPPORTED)
    record.placementSize = placement_size(kind, types, mixed=mixed)
    return list(vgpu.free_on(call.state, gpu, kind))


def get_capability(call: Call, device: Handle, capability: int) -> int:
    """Return one of nvmlDeviceVgpuCapability_t."""
    gpu = host(call, device)
    if capability >= _CAPABILITIES:
        raise Refused(Result.INVALID_ARGUMENT)
    if capability in _SETTABLE:
        return int(capability in gpu.vgpu.capabilities)
    return _fixed(gpu)[capability]


def set_capability(call: Call, device: Handle, capability: int, state: int) -> None:
    """Turn one of the settable capabilities on or off."""
    call.need_admin()
    host(call, device)
    if capability >= _CAPABILITIES or state > 1:
        raise Refused(Result.INVALID_ARGUMENT)
    if capability not in _SETTABLE:
        raise Refused(Result.NOT_SUPPORTED)
    call.perform(vgpu.set_vgpu_capability, device.gpu, capability, enabled=bool(state))


def get_driver_capability(call: Call, capability: int) -> int:
    """Return one of nvmlVgpuDriverCapability_t: several types in one machine, and warm updates."""
    if not call.state.vgpu_manager:
        raise Refused(Result.NOT_SUPPORTED)
    if capability > 1:
        raise Refused(Result.INVALID_ARGUMENT)
    return 1 - capability


def _sharing(call: Call, device: Handle) -> GpuState:
    """Return a host whose vGPUs can share in mixed sizes at all: not the mdev boards (nvml.h: Ampere or later)."""
    gpu = host(call, device)
    assert gpu.board.vgpu is not None
    if gpu.board.vgpu.framework == "mdev":
        raise Refused(Result.NOT_SUPPORTED)
    return gpu


def _mixed(record: r.nvmlVgpuPlacementList_v1_t | r.nvmlVgpuPlacementList_v2_t) -> bool:
    if isinstance(record, r.nvmlVgpuPlacementList_v1_t):
        return True
    if record.mode not in (_HETEROGENEOUS, _HOMOGENEOUS):
        raise Refused(Result.INVALID_ARGUMENT)
    return bool(record.mode == _HETEROGENEOUS)


def _fixed(gpu: GpuState) -> dict[int, int]:
    """Return the capabilities that the board decides; buffer bandwidths are those of its PCIe link, MB/s."""
    spec, pci = gpu.board.vgpu, gpu.board.pci
    assert spec is not None
    modern = int(spec.framework == "vendor-specific")
    bandwidth = _LANE_MEGABYTES.get(pci.link_generation, 985) * pci.link_width
    return {
        0: modern,  # fractional types in machines with several vGPUs
        1: modern,  # time-sliced types of different kinds at once
        2: modern,  # and of different sizes
        3: bandwidth,
        4: bandwidth,
        5: modern,  # streamed migration
        8: 0,  # warm update
        9: modern,  # placements of equal sizes are reported
        10: int(any(kind.per_instance > 1 for kind in spec.types.values())),
        12: modern,
    }


ANSWERS = {
    "nvmlDeviceGetCreatableVgpus": get_creatable,
    "nvmlDeviceGetHostVgpuMode": get_host_mode,
    "nvmlDeviceGetSupportedVgpus": get_supported,
    "nvmlDeviceGetVgpuCapabilities": get_capability,
    "nvmlDeviceGetVgpuHeterogeneousMode": get_mixed_sizes,
    "nvmlDeviceGetVgpuTypeCreatablePlacements": get_creatable_placements,
    "nvmlDeviceGetVgpuTypeSupportedPlacements": get_supported_placements,
    "nvmlDeviceSetVgpuCapabilities": set_capability,
    "nvmlDeviceSetVgpuHeterogeneousMode": set_mixed_sizes,
    "nvmlGetVgpuDriverCapabilities": get_driver_capability,
}
