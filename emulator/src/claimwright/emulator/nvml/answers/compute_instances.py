"""Compute instances: what a GPU instance can be cut into, and what it is cut into."""

from __future__ import annotations

from ctypes import Structure

from claimwright.emulator.model import GpuState
from claimwright.emulator.model.mig import (
    COMPUTE_PROFILES,
    ComputeInstance,
    ComputeProfile,
    GpuInstance,
    Variant,
    compute_profile_name,
)
from claimwright.emulator.model.mig.room import compute_places
from claimwright.emulator.model.operations import mig
from claimwright.emulator.nvml._generated import records as r
from claimwright.emulator.nvml.answers.call import Call, Refused
from claimwright.emulator.nvml.answers.mig import gpu_instance
from claimwright.emulator.nvml.handles import (
    Handle,
    compute_instance_handle,
    gpu_handle,
    gpu_instance_handle,
    mig_device_handle,
)
from claimwright.emulator.nvml.layout import Result

_ENGINE_PROFILES = 1  # NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_COUNT: engines are always shared
_CAPABILITY_GRAPHICS = 0x1  # NVML_COMPUTE_INSTANCE_PROFILE_CAPS_GFX


def get_profile(call: Call, instance: Handle, number: int, engines: int, info: Structure) -> None:
    """Describe a compute profile of a GPU instance; its engines are those of the GPU instance."""
    if engines >= _ENGINE_PROFILES:
        raise Refused(Result.INVALID_ARGUMENT)
    gpu, held, profile = _offered(call, instance, number)
    spec = gpu.board.mig
    assert spec is not None
    whole = spec.by_id[held.profile]
    _fill(
        info,
        id=profile.id,
        sliceCount=profile.slices,
        instanceCount=profile.max,
        multiprocessorCount=profile.multiprocessors,
        sharedCopyEngineCount=whole.copy_engines,
        sharedDecoderCount=whole.decoders,
        sharedEncoderCount=whole.encoders,
        sharedJpegCount=whole.jpeg_engines,
        sharedOfaCount=whole.optical_flow,
    )
    if isinstance(info, r.nvmlComputeInstanceProfileInfo_v3_t):
        info.capabilities = _CAPABILITY_GRAPHICS if whole.variant is Variant.GFX else 0
    if not isinstance(info, r.nvmlComputeInstanceProfileInfo_t):
        name = compute_profile_name(profile, whole, gpu.board.memory.total_mib)
        info.name = f"MIG {name}".encode()


def get_placements(call: Call, instance: Handle, number: int) -> list[Structure]:
    """Return all places of a compute profile inside a GPU instance."""
    call.need_admin()
    places = _offered(call, instance, number)[2].at
    return [r.nvmlComputeInstancePlacement_t(place.start, place.size) for place in places]


def get_remaining(call: Call, instance: Handle, number: int) -> int:
    """Count how many more compute instances of a profile fit."""
    call.need_admin()
    _, held, profile = _offered(call, instance, number)
    return len(compute_places(held, profile))


def create(call: Call, instance: Handle, number: int) -> Handle:
    """Create a compute instance at its first free place."""
    return _create(call, instance, number)


def create_at(call: Call, instance: Handle, number: int, place: Structure) -> Handle:
    """Create a compute instance at a place."""
    return _create(call, instance, number, start=place.start, size=place.size)


def destroy(call: Call, compute: Handle) -> None:
    """Destroy a compute instance; IN_USE while processes run in it."""
    call.need_admin()
    _, held, made = compute_instance(call, compute)
    call.perform(mig.destroy_compute_instance, compute.gpu, held.id, made.id)


def list_instances(call: Call, instance: Handle, number: int) -> list[Handle]:
    """List the compute instances of a profile in a GPU instance."""
    call.need_admin()
    _, held, profile = _offered(call, instance, number)
    found = (each.id for each in held.compute_instances if each.profile == profile.id)
    return [compute_instance_handle(instance.gpu, held.id, each) for each in found]


def get_by_id(call: Call, instance: Handle, number: int) -> Handle:
    """Find a compute instance by its id."""
    call.need_admin()
    _, held = gpu_instance(call, instance)
    if held.compute_instance(number) is None:
        raise Refused(Result.NOT_FOUND)
    return compute_instance_handle(instance.gpu, held.id, number)


def get_info(call: Call, compute: Handle, info: Structure) -> None:
    """Describe a compute instance; `device` is its MIG device, whose UUID drivers read."""
    _describe(call, compute, info)
    assert compute.gpu_instance is not None
    assert compute.compute_instance is not None
    device = mig_device_handle(compute.gpu, compute.gpu_instance, compute.compute_instance)
    info.device = device.number


def get_info_of_parent(call: Call, compute: Handle, info: Structure) -> None:
    """Describe a compute instance as the first version of the function does: `device` is the whole GPU."""
    _describe(call, compute, info)
    info.device = gpu_handle(compute.gpu).number


def compute_instance(call: Call, handle: Handle) -> tuple[GpuState, GpuInstance, ComputeInstance]:
    """Return the compute instance behind its handle or that of its MIG device; INVALID_ARGUMENT once it is gone."""
    gpu, held = gpu_instance(call, handle)
    made = None if handle.compute_instance is None else held.compute_instance(handle.compute_instance)
    if made is None:
        raise Refused(Result.INVALID_ARGUMENT)
    return gpu, held, made


def _create(call: Call, instance: Handle, number: int, **place: int) -> Handle:
    call.need_admin()
    gpu_instance(call, instance)
    made = call.perform(
        mig.create_compute_instance, instance.gpu, instance.gpu_instance or 0, number, **place
    )
    return compute_instance_handle(instance.gpu, instance.gpu_instance or 0, made.id)


def _offered(call: Call, instance: Handle, number: int) -> tuple[GpuState, GpuInstance, ComputeProfile]:
    if number >= COMPUTE_PROFILES:
        raise Refused(Result.INVALID_ARGUMENT)
    gpu, held = gpu_instance(call, instance)
    offered = gpu.board.mig.compute(held.profile) if gpu.board.mig else {}
    if number not in offered:
        raise Refused(Result.NOT_SUPPORTED)
    return gpu, held, offered[number]


def _describe(call: Call, compute: Handle, info: Structure) -> None:
    _, held, made = compute_instance(call, compute)
    _fill(
        info, gpuInstance=gpu_instance_handle(compute.gpu, held.id).number, id=made.id, profileId=made.profile
    )
    place = r.nvmlComputeInstancePlacement_t(made.placement.start, made.placement.size)
    info.placement = place


def _fill(info: Structure, **members: int) -> None:
    for name, value in members.items():
        setattr(info, name, value)


ANSWERS = {
    "nvmlGpuInstanceGetComputeInstanceProfileInfo": get_profile,
    "nvmlGpuInstanceGetComputeInstanceProfileInfoV": get_profile,
    "nvmlGpuInstanceGetComputeInstancePossiblePlacements": get_placements,
    "nvmlGpuInstanceGetComputeInstanceRemainingCapacity": get_remaining,
    "nvmlGpuInstanceCreateComputeInstance": create,
    "nvmlGpuInstanceCreateComputeInstanceWithPlacement": create_at,
    "nvmlComputeInstanceDestroy": destroy,
    "nvmlGpuInstanceGetComputeInstances": list_instances,
    "nvmlGpuInstanceGetComputeInstanceById": get_by_id,
    "nvmlComputeInstanceGetInfo": get_info_of_parent,
    "nvmlComputeInstanceGetInfo_v2": get_info,
}
