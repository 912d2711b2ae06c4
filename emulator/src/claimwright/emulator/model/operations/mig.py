"""MIG as operations: the mode, GPU instances, compute instances.

Refusals are NVML's (nvml.h 13.5, "MIG"): NOT_SUPPORTED while the mode is off, INVALID_ARGUMENT for a profile or place
that the board does not have, INSUFFICIENT_RESOURCES for one that is taken (there is no "exists already"), IN_USE for
what still holds something.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from claimwright.emulator.errors import OperationRefused, Refusal
from claimwright.emulator.model.board import Architecture
from claimwright.emulator.model.change import Change, gpu_at, with_gpu
from claimwright.emulator.model.mig.instances import ComputeInstance, GpuInstance, Mig
from claimwright.emulator.model.mig.naming import gpu_instance_id, mig_uuid
from claimwright.emulator.model.mig.placements import Placement
from claimwright.emulator.model.mig.profiles import (
    COMPUTE_PROFILES,
    ComputeProfile,
    GpuInstanceProfile,
    MigSpec,
)
from claimwright.emulator.model.mig.room import Room, compute_places, room_on
from claimwright.emulator.model.state import GpuState, NodeState


@dataclass(frozen=True, slots=True)
class MigModeSet:
    """What came of a mode change: `activation` says why it did not take effect at once (None: it did)."""

    current: bool
    pending: bool
    activation: Refusal | None


def set_mig_mode(state: NodeState, gpu: int, *, enabled: bool) -> Change[MigModeSet]:
    """Turn MIG on or off.

    Ampere keeps the wish as pending until a reset. Hopper and later switch at once when nothing runs on the GPU and
    no MIG device is left; a GPU instance without a compute instance goes with the mode. Neither case is an error:
    NVML answers SUCCESS and an activation status.
    """
    there = _reachable(gpu_at(state, gpu))
    mig = _mig(there)
    activation = _obstacle(there, mig, enabled=enabled)
    changed = replace(mig, pending=enabled)
    if activation is None and mig.current != enabled:
        changed = Mig(current=enabled, pending=enabled)
    value = MigModeSet(changed.current, changed.pending, activation)
    return Change(with_gpu(state, replace(there, mig=changed)), value)


def create_gpu_instance(
    state: NodeState, gpu: int, profile: int, *, start: int | None = None, size: int | None = None
) -> Change[GpuInstance]:
    """Cut out a GPU instance of a profile id; without a start the driver chooses the place."""
    there, mig, spec = _open(state, gpu)
    kind = _profile(spec, profile)
    room = room_on(there.board, mig.gpu_instances)
    place = room.choose(kind) if start is None else _asked(room, kind, start, size)
    if place is None:
        raise OperationRefused(
            Refusal.INSUFFICIENT_RESOURCES,
            f"no room for profile {profile} on GPU {gpu}: {_layout(mig)}",
        )
    made = GpuInstance(gpu_instance_id(spec, place), profile, place)
    return Change(_with(state, there, mig.with_instance(made)), made)


def destroy_gpu_instance(state: NodeState, gpu: int, gpu_instance: int) -> Change[GpuInstance]:
    """Give a GPU instance back; one that holds compute instances or processes is in use."""
    there, mig, _ = _open(state, gpu)
    held = _instance(mig, gpu, gpu_instance)
    if held.compute_instances:
        listed = ", ".join(str(each.id) for each in held.compute_instances)
        raise OperationRefused(
            Refusal.IN_USE, f"GPU instance {gpu_instance} of GPU {gpu} holds compute instances {listed}"
        )
    _check_idle(there, gpu_instance, None)
    for vgpu in state.vgpus:
        if (vgpu.gpu, vgpu.gpu_instance) == (gpu, gpu_instance):
            raise OperationRefused(Refusal.IN_USE, f"GPU instance {gpu_instance} backs vGPU {vgpu.uuid}")
    return Change(_with(state, there, mig.without_instance(gpu_instance)), held)


def create_compute_instance(
    state: NodeState,
    gpu: int,
    gpu_instance: int,
    profile: int | None = None,
    *,
    start: int | None = None,
    size: int | None = None,
) -> Change[ComputeInstance]:
    """Make a MIG device inside a GPU instance; without a profile it takes the whole GPU instance."""
    there, mig, spec = _open(state, gpu)
    held = _instance(mig, gpu, gpu_instance)
    kind = spec.full_compute(held.profile) if profile is None else _compute(spec, held, profile)
    place = _compute_place(held, kind, start, size)
    taken = {each.id for each in held.compute_instances}
    number = next(number for number in range(spec.compute_slices + 1) if number not in taken)
    uuid = mig_uuid(there.uuid, held.profile, held.placement, (kind.id, place.start, number))
    made = ComputeInstance(number, kind.id, place, uuid)
    others = sorted((*held.compute_instances, made), key=lambda each: each.id)
    changed = mig.with_instance(replace(held, compute_instances=tuple(others)))
    return Change(_with(state, there, changed), made)


def destroy_compute_instance(
    state: NodeState, gpu: int, gpu_instance: int, compute_instance: int
) -> Change[ComputeInstance]:
    """Remove a MIG device; its GPU instance stays."""
    there, mig, _ = _open(state, gpu)
    held = _instance(mig, gpu, gpu_instance)
    gone = held.compute_instance(compute_instance)
    if gone is None:
        said = f"no compute instance {compute_instance} in GPU instance {gpu_instance} of GPU {gpu}"
        raise OperationRefused(Refusal.NOT_FOUND, f"{said}; {_layout(mig)}")
    _check_idle(there, gpu_instance, compute_instance)
    left = tuple(each for each in held.compute_instances if each.id != compute_instance)
    return Change(_with(state, there, mig.with_instance(replace(held, compute_instances=left))), gone)


def _obstacle(gpu: GpuState, mig: Mig, *, enabled: bool) -> Refusal | None:
    """Say why the mode does not change now; a wish that is fulfilled already meets none."""
    if enabled == mig.current:
        return None
    if gpu.processes:
        return Refusal.IN_USE
    if gpu.board.architecture < Architecture.HOPPER:
        return Refusal.RESET_REQUIRED
    return Refusal.IN_USE if any(mig.devices()) else None


def _reachable(gpu: GpuState) -> GpuState:
    if gpu.lost:
        raise OperationRefused(Refusal.GPU_IS_LOST, f"GPU {gpu.index} ({gpu.uuid}) has fallen off the bus")
    if not gpu.nvml_visible:
        raise OperationRefused(Refusal.NOT_FOUND, f"GPU {gpu.index} is not on the NVIDIA driver")
    return gpu


def _mig(gpu: GpuState) -> Mig:
    if gpu.mig is None:
        raise OperationRefused(Refusal.NOT_SUPPORTED, f"{gpu.board.name} has no MIG")
    return gpu.mig


def _open(state: NodeState, gpu: int) -> tuple[GpuState, Mig, MigSpec]:
    """Return a GPU whose MIG mode is on, with its state and its board's profiles."""
    there = _reachable(gpu_at(state, gpu))
    mig = _mig(there)
    if not mig.current or there.board.mig is None:
        waiting = "; it waits for a reset" if mig.pending else ""
        raise OperationRefused(Refusal.NOT_SUPPORTED, f"MIG is off on GPU {gpu}{waiting}")
    return there, mig, there.board.mig


def _with(state: NodeState, gpu: GpuState, mig: Mig) -> NodeState:
    return with_gpu(state, replace(gpu, mig=mig))


def _profile(spec: MigSpec, profile: int) -> GpuInstanceProfile:
    if profile not in spec.by_id:
        raise OperationRefused(
            Refusal.INVALID_ARGUMENT, f"no GPU instance profile {profile}; known ids: {_listed(spec.by_id)}"
        )
    return spec.by_id[profile]


def _compute(spec: MigSpec, instance: GpuInstance, profile: int) -> ComputeProfile:
    offered = spec.compute(instance.profile)
    if profile not in offered:
        known = 0 <= profile < COMPUTE_PROFILES
        raise OperationRefused(
            Refusal.NOT_SUPPORTED if known else Refusal.INVALID_ARGUMENT,
            f"GPU instance {instance.id} has no compute instance profile {profile}; it has {_listed(offered)}",
        )
    return offered[profile]


def _asked(room: Room, profile: GpuInstanceProfile, start: int, size: int | None) -> Placement | None:
    place = Placement(start, profile.size if size is None else size)
    if place not in profile.at:
        allowed = ", ".join(map(str, profile.at))
        raise OperationRefused(
            Refusal.INVALID_ARGUMENT, f"profile {profile.id} cannot stand at {place}; allowed: {allowed}"
        )
    return place if place in room.places(profile) else None


def _compute_place(
    instance: GpuInstance, profile: ComputeProfile, start: int | None, size: int | None
) -> Placement:
    free = compute_places(instance, profile)
    if start is not None:
        asked = Placement(start, profile.slices if size is None else size)
        if asked not in profile.at:
            allowed = ", ".join(map(str, profile.at))
            said = f"compute profile {profile.id} cannot stand at {asked}; allowed: {allowed}"
            raise OperationRefused(Refusal.INVALID_ARGUMENT, said)
        free = tuple(each for each in free if each == asked)
    if not free:
        said = f"no room for compute profile {profile.id} in GPU instance {instance.id}"
        raise OperationRefused(Refusal.INSUFFICIENT_RESOURCES, said)
    return free[0]


def _instance(mig: Mig, gpu: int, instance: int) -> GpuInstance:
    found = mig.gpu_instance(instance)
    if found is None:
        raise OperationRefused(Refusal.NOT_FOUND, f"no GPU instance {instance} on GPU {gpu}; {_layout(mig)}")
    return found


def _check_idle(gpu: GpuState, instance: int, compute: int | None) -> None:
    for process in gpu.processes:
        if process.gpu_instance == instance and compute in {None, process.compute_instance}:
            raise OperationRefused(
                Refusal.IN_USE, f"process {process.pid} ({process.name}) runs in GPU instance {instance}"
            )


def _layout(mig: Mig) -> str:
    held = ", ".join(f"{each.id} (profile {each.profile} at {each.placement})" for each in mig.gpu_instances)
    return f"GPU instances: {held or 'none'}"


def _listed(ids: Collection[int]) -> str:
    return ", ".join(map(str, sorted(ids)))


OPERATIONS = (
    set_mig_mode,
    create_gpu_instance,
    destroy_gpu_instance,
    create_compute_instance,
    destroy_compute_instance,
)
