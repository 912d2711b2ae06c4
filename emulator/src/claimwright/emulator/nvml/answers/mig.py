"""MIG of a GPU: mode, GPU instance profiles, GPU instances (nvml.h 13.5, "Multi Instance GPU Management")."""

from __future__ import annotations

from ctypes import Structure

from claimwright.emulator.model import GpuState
from claimwright.emulator.model.mig import (
    GPU_INSTANCE_PROFILES,
    GpuInstance,
    GpuInstanceProfile,
    Mig,
    MigSpec,
    Variant,
    profile_name,
)
from claimwright.emulator.model.mig.room import room_on
from claimwright.emulator.model.operations import mig
from claimwright.emulator.nvml._generated import records as r
from claimwright.emulator.nvml.answers.call import Call, Refused
from claimwright.emulator.nvml.handles import Handle, gpu_handle, gpu_instance_handle
from claimwright.emulator.nvml.layout import Result

_CAPABILITY_GRAPHICS = 0x2  # NVML_GPU_INSTANCE_PROFILE_CAPS_GFX; P2P (0x1) is "No" on every board seen


def set_mode(call: Call, device: Handle, mode: int) -> int:
    """Set the MIG mode; SUCCESS with an activation status that says whether it took effect."""
    call.need_admin()
    board_spec(call, device)
    if mode > 1:
        raise Refused(Result.INVALID_ARGUMENT)
    done = call.perform(mig.set_mig_mode, device.gpu, enabled=bool(mode))
    return Result.SUCCESS if done.activation is None else Result[done.activation.name]


def get_profile(call: Call, device: Handle, number: int, info: Structure) -> None:
    """Describe the profile of a number that callers count up until INVALID_ARGUMENT; a gap is NOT_SUPPORTED."""
    if number >= GPU_INSTANCE_PROFILES:
        raise Refused(Result.INVALID_ARGUMENT)
    gpu, spec = board_spec(call, device)
    _describe(gpu, _known(spec.by_number.get(number)), info)


def get_profile_by_id(call: Call, device: Handle, profile: int, info: Structure) -> None:
    """Describe the profile of an id, the one that creation takes."""
    gpu, spec = board_spec(call, device)
    _describe(gpu, _known(spec.by_id.get(profile)), info)


def get_placements(call: Call, device: Handle, profile: int) -> list[Structure]:
    """Return all places of a profile, whether MIG is on or not."""
    call.need_admin()
    _, spec = board_spec(call, device)
    places = _known(spec.by_id.get(profile)).at
    return [r.nvmlGpuInstancePlacement_t(place.start, place.size) for place in places]


def get_remaining(call: Call, device: Handle, profile: int) -> int:
    """Count how many more instances of a profile fit."""
    call.need_admin()
    gpu, spec, state = switched_on(call, device)
    return room_on(gpu.board, state.gpu_instances).remaining(_known(spec.by_id.get(profile)))


def create(call: Call, device: Handle, profile: int) -> Handle:
    """Create a GPU instance where the driver would."""
    call.need_admin()
    switched_on(call, device)
    made = call.perform(mig.create_gpu_instance, device.gpu, profile)
    return gpu_instance_handle(device.gpu, made.id)


def create_at(call: Call, device: Handle, profile: int, place: Structure) -> Handle:
    """Create a GPU instance at a place."""
    call.need_admin()
    switched_on(call, device)
    at = {"start": place.start, "size": place.size}
    made = call.perform(mig.create_gpu_instance, device.gpu, profile, **at)
    return gpu_instance_handle(device.gpu, made.id)


def destroy(call: Call, instance: Handle) -> None:
    """Destroy a GPU instance; IN_USE while it holds compute instances or processes."""
    call.need_admin()
    _, held = gpu_instance(call, instance)
    call.perform(mig.destroy_gpu_instance, instance.gpu, held.id)


def list_instances(call: Call, device: Handle, profile: int) -> list[Handle]:
    """List the GPU instances of a profile."""
    call.need_admin()
    _, spec, state = switched_on(call, device)
    _known(spec.by_id.get(profile))
    found = (each.id for each in state.gpu_instances if each.profile == profile)
    return [gpu_instance_handle(device.gpu, each) for each in found]


def get_by_id(call: Call, device: Handle, instance: int) -> Handle:
    """Find a GPU instance by its id."""
    call.need_admin()
    _, _, state = switched_on(call, device)
    if state.gpu_instance(instance) is None:
        raise Refused(Result.NOT_FOUND)
    return gpu_instance_handle(device.gpu, instance)


def get_info(call: Call, instance: Handle, info: Structure) -> None:
    """Describe a GPU instance."""
    _, held = gpu_instance(call, instance)
    _fill(info, device=gpu_handle(instance.gpu).number, id=held.id, profileId=held.profile)
    info.placement = r.nvmlGpuInstancePlacement_t(held.placement.start, held.placement.size)


def get_most_devices(call: Call, device: Handle) -> int:
    """Count how many MIG devices there can be; 0 where MIG is off or missing, which is no error."""
    whole(device)
    gpu = call.gpu(device)
    return gpu.board.mig.most_devices if gpu.board.mig and gpu.mig and gpu.mig.current else 0


def whole(device: Handle) -> None:
    """Refuse a MIG device where a GPU is meant."""
    if device.is_mig_device:
        raise Refused(Result.INVALID_ARGUMENT)


def board_spec(call: Call, device: Handle) -> tuple[GpuState, MigSpec]:
    """Return a GPU and its board's profiles; NOT_SUPPORTED without MIG."""
    whole(device)
    gpu = call.gpu(device)
    if gpu.mig is None or gpu.board.mig is None:
        raise Refused(Result.NOT_SUPPORTED)
    return gpu, gpu.board.mig


def switched_on(call: Call, device: Handle) -> tuple[GpuState, MigSpec, Mig]:
    """Return a GPU whose MIG mode is on; NOT_SUPPORTED otherwise."""
    gpu, spec = board_spec(call, device)
    if gpu.mig is None or not gpu.mig.current:
        raise Refused(Result.NOT_SUPPORTED)
    return gpu, spec, gpu.mig


def gpu_instance(call: Call, instance: Handle) -> tuple[GpuState, GpuInstance]:
    """Return the GPU instance behind a handle; INVALID_ARGUMENT once it is gone."""
    gpu = call.gpu(instance)
    held = (
        gpu.mig.gpu_instance(instance.gpu_instance) if gpu.mig and instance.gpu_instance is not None else None
    )
    if held is None:
        raise Refused(Result.INVALID_ARGUMENT)
    return gpu, held


def _known(profile: GpuInstanceProfile | None) -> GpuInstanceProfile:
    if profile is None:
        raise Refused(Result.NOT_SUPPORTED)
    return profile


def _describe(gpu: GpuState, profile: GpuInstanceProfile, info: Structure) -> None:
    _fill(
        info,
        id=profile.id,
        sliceCount=profile.slices,
        instanceCount=profile.max,
        multiprocessorCount=profile.multiprocessors,
        copyEngineCount=profile.copy_engines,
        decoderCount=profile.decoders,
        encoderCount=profile.encoders,
        jpegCount=profile.jpeg_engines,
        ofaCount=profile.optical_flow,
        memorySizeMB=profile.memory_mib,
    )
    if isinstance(info, r.nvmlGpuInstanceProfileInfo_v3_t):
        info.capabilities = _CAPABILITY_GRAPHICS if profile.variant is Variant.GFX else 0
    else:
        info.isP2pSupported = 0
    if not isinstance(info, r.nvmlGpuInstanceProfileInfo_t):
        info.name = f"MIG {profile_name(profile, gpu.board.memory.total_mib)}".encode()


def _fill(info: Structure, **members: int) -> None:
    for name, value in members.items():
        setattr(info, name, value)


ANSWERS = {
    "nvmlDeviceSetMigMode": set_mode,
    "nvmlDeviceGetGpuInstanceProfileInfo": get_profile,
    "nvmlDeviceGetGpuInstanceProfileInfoV": get_profile,
    "nvmlDeviceGetGpuInstanceProfileInfoByIdV": get_profile_by_id,
    "nvmlDeviceGetGpuInstancePossiblePlacements": get_placements,
    "nvmlDeviceGetGpuInstancePossiblePlacements_v2": get_placements,
    "nvmlDeviceGetGpuInstanceRemainingCapacity": get_remaining,
    "nvmlDeviceCreateGpuInstance": create,
    "nvmlDeviceCreateGpuInstanceWithPlacement": create_at,
    "nvmlGpuInstanceDestroy": destroy,
    "nvmlDeviceGetGpuInstances": list_instances,
    "nvmlDeviceGetGpuInstanceById": get_by_id,
    "nvmlGpuInstanceGetInfo": get_info,
    "nvmlDeviceGetMaxMigDeviceCount": get_most_devices,
}
