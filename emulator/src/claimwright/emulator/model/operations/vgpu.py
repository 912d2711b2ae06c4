"""What can be done with vGPUs: make and remove them, run virtual machines on them, set how they share a GPU."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

from claimwright.emulator.errors import OperationRefused, Refusal
from claimwright.emulator.model.change import Change, gpu_at, with_gpu
from claimwright.emulator.model.rules import Field
from claimwright.emulator.model.state import GpuProcess, GpuState, NodeState
from claimwright.emulator.model.vgpu import (
    GuestProcess,
    Placed,
    Scheduler,
    SchedulerPolicy,
    Vgpu,
    VgpuType,
    VirtualMachine,
    free_placements,
    type_of,
    types_of,
)
from claimwright.emulator.model.vgpu.capacity import Instance
from claimwright.emulator.model.vgpu.state import VGPU_VERSIONS

_NAMES = uuid.UUID("6d2a3c1e-51b5-4b4a-9f0e-0a4c6f9d7e21")  # a namespace of our own (RFC 9562, version 5)
_SLICE_NANOSECONDS = (1_000_000, 30_000_000)
_FREQUENCY_HERTZ = (63, 1000)
_AVERAGE_FACTOR = (1, 60)
Percent = Annotated[int, Field(ge=0, le=100)]


def create_vgpu(
    state: NodeState,
    gpu: int,
    type_id: int,
    carrier: str,
    *,
    gpu_instance: int | None = None,
    placement: int | None = None,
) -> Change[Vgpu]:
    """Make a vGPU on a mediated device or a virtual function, at the first free place unless one is named."""
    board = _host(state, gpu)
    carrier = _checked_carrier(state, board, carrier)
    kind = type_of(board.board.vgpu, type_id)
    instance = _backing(state, board, kind, gpu_instance)
    free = free_on(state, board, kind, gpu_instance=instance)
    if not free or (placement is not None and placement not in free):
        raise OperationRefused(Refusal.INSUFFICIENT_RESOURCES, _full(board, kind, placement, free))
    made = Vgpu(
        id=_next_id(state),
        gpu=gpu,
        type_id=type_id,
        carrier=carrier,
        uuid=str(uuid.uuid5(_NAMES, f"{board.uuid}/{carrier}/{type_id}")),
        placement=free[0] if placement is None else placement,
        gpu_instance=instance,
        frame_rate_limit=kind.frame_rate_limit,
    )
    return Change(replace(state, vgpus=(*state.vgpus, made)), made)


def remove_vgpu(state: NodeState, carrier: str) -> Change[None]:
    """Remove a vGPU; IN_USE while a virtual machine runs on it."""
    found = vgpu_on(state, carrier)
    if found.vm is not None:
        raise OperationRefused(
            Refusal.IN_USE, f"virtual machine {found.vm.uuid} runs on the vGPU of {carrier}"
        )
    return Change(replace(state, vgpus=tuple(each for each in state.vgpus if each is not found)), None)


def place_vgpu(state: NodeState, carrier: str, placement: int) -> Change[Vgpu]:
    """Move a vGPU that no machine runs on to another first slot, where several sizes share the GPU."""
    found = vgpu_on(state, carrier)
    board = gpu_at(state, found.gpu)
    if found.vm is not None:
        raise OperationRefused(
            Refusal.IN_USE, f"virtual machine {found.vm.uuid} runs on the vGPU of {carrier}"
        )
    if not board.vgpu.mixed_sizes:
        raise OperationRefused(Refusal.NOT_SUPPORTED, f"GPU {found.gpu} places vGPUs of equal size by itself")
    kind = type_of(board.board.vgpu, found.type_id)
    others = replace(state, vgpus=tuple(each for each in state.vgpus if each.id != found.id))
    free = free_on(others, board, kind)
    if placement not in free:
        raise OperationRefused(Refusal.INVALID_ARGUMENT, _full(board, kind, placement, free))
    placed = replace(found, placement=placement)
    return Change(_with_vgpu(state, placed), placed)


def start_vm(
    state: NodeState,
    carrier: str,
    vm: str,
    pid: int,
    *,
    driver_version: str | None = None,
    licensed: bool = False,
) -> Change[Vgpu]:
    """Let a virtual machine (a UUID) open a vGPU; its frame buffer is allocated from then on."""
    found = vgpu_on(state, carrier)
    _checked_uuid(vm)
    if found.vm is not None:
        raise OperationRefused(
            Refusal.IN_USE, f"virtual machine {found.vm.uuid} runs on the vGPU of {carrier}"
        )
    if any(each.vm and each.vm.pid == pid and each.gpu == found.gpu for each in state.vgpus) or pid <= 0:
        raise OperationRefused(
            Refusal.INVALID_ARGUMENT, f"pid {pid}: expected a positive one that is not taken"
        )
    board = gpu_at(state, found.gpu)
    memory = type_of(board.board.vgpu, found.type_id).framebuffer_mib << 20
    allotted = min(memory, board.memory_free_bytes)  # the largest type has what the host leaves
    running = replace(board, processes=(*board.processes, GpuProcess(pid, "vgpu", allotted)))
    started = replace(found, vm=VirtualMachine(vm, pid, driver_version, licensed))
    return Change(_with_vgpu(with_gpu(state, running), started), started)


def stop_vm(state: NodeState, carrier: str) -> Change[Vgpu]:
    """End the virtual machine of a vGPU; the vGPU stays."""
    found = vgpu_on(state, carrier)
    if found.vm is None:
        raise OperationRefused(Refusal.NOT_FOUND, f"no virtual machine runs on the vGPU of {carrier}")
    board, ended = gpu_at(state, found.gpu), found.vm.pid
    left = replace(board, processes=tuple(each for each in board.processes if each.pid != ended))
    stopped = replace(found, vm=None)
    return Change(_with_vgpu(with_gpu(state, left), stopped), stopped)


def boot_guest(
    state: NodeState, carrier: str, driver_version: str, *, licensed: bool = False
) -> Change[Vgpu]:
    """Let the guest load its driver, with or without a license."""
    return _in_guest(state, carrier, lambda vm: replace(vm, driver_version=driver_version, licensed=licensed))


def run_in_guest(
    state: NodeState,
    carrier: str,
    pid: int,
    name: str,
    *,
    memory_bytes: Annotated[int, Field(ge=0)] = 0,
    gpu_percent: Percent = 0,
    memory_percent: Percent = 0,
) -> Change[Vgpu]:
    """Start a process in the guest, or set what it uses."""
    process = GuestProcess(pid, name, memory_bytes, gpu_percent, memory_percent)

    def run(vm: VirtualMachine) -> VirtualMachine:
        others = tuple(each for each in vm.processes if each.pid != pid)
        return replace(vm, processes=(*others, process))

    return _in_guest(state, carrier, run)


def end_in_guest(state: NodeState, carrier: str, pid: int) -> Change[Vgpu]:
    """End a process of the guest; its figures stay where accounting is on."""

    def end(vm: VirtualMachine) -> VirtualMachine:
        ended = tuple(each for each in vm.processes if each.pid == pid)
        if not ended:
            raise OperationRefused(Refusal.NOT_FOUND, f"no process {pid} in virtual machine {vm.uuid}")
        left = tuple(each for each in vm.processes if each.pid != pid)
        return replace(vm, processes=left, finished=(*vm.finished, *ended) if vm.accounting else vm.finished)

    return _in_guest(state, carrier, end)


def set_guest_accounting(state: NodeState, carrier: str, *, enabled: bool) -> Change[Vgpu]:
    """Keep the figures of processes that end in the guest, or not (the guest decides that)."""
    return _in_guest(state, carrier, lambda vm: replace(vm, accounting=enabled))


def clear_guest_accounting(state: NodeState, carrier: str) -> Change[Vgpu]:
    """Forget the processes that have ended in the guest."""
    return _in_guest(state, carrier, lambda vm: replace(vm, finished=()))


def set_encoder_capacity(state: NodeState, carrier: str, percent: int) -> Change[Vgpu]:
    """Give a vGPU its share of the encoder, percent."""
    if not 0 <= percent <= 100:
        raise OperationRefused(Refusal.INVALID_ARGUMENT, f"encoder capacity {percent} %; expected 0..100")
    changed = replace(vgpu_on(state, carrier), encoder_capacity=percent)
    return Change(_with_vgpu(state, changed), changed)


def set_mixed_sizes(state: NodeState, gpu: int, *, enabled: bool) -> Change[GpuState]:
    """Let vGPUs of several sizes share a GPU, or only equal ones; IN_USE while it carries any."""
    board = _host(state, gpu)
    if mig_is_on(board):
        raise OperationRefused(Refusal.NOT_SUPPORTED, f"GPU {gpu} is in MIG mode: sizes follow its instances")
    if enabled != board.vgpu.mixed_sizes and any(each.gpu == gpu for each in state.vgpus):
        raise OperationRefused(
            Refusal.IN_USE, f"GPU {gpu} carries vGPUs; remove them to change how they share it"
        )
    changed = replace(board, vgpu=replace(board.vgpu, mixed_sizes=enabled))
    return Change(with_gpu(state, changed), changed)


def set_vgpu_capability(state: NodeState, gpu: int, capability: int, *, enabled: bool) -> Change[GpuState]:
    """Turn a settable member of `nvmlDeviceVgpuCapability_t` on or off."""
    board = _host(state, gpu)
    others = board.vgpu.capabilities - {capability}
    changed = replace(
        board, vgpu=replace(board.vgpu, capabilities=others | {capability} if enabled else others)
    )
    return Change(with_gpu(state, changed), changed)


def set_vgpu_versions(state: NodeState, lowest: int, highest: int) -> Change[tuple[int, int]]:
    """Enforce a part of the versions that the host can serve; IN_USE while virtual machines run."""
    if not VGPU_VERSIONS[0] <= lowest <= highest <= VGPU_VERSIONS[1]:
        able = "..".join(f"{each:#x}" for each in VGPU_VERSIONS)
        raise OperationRefused(
            Refusal.INVALID_ARGUMENT, f"vGPU versions {lowest:#x}..{highest:#x}; expected a part of {able}"
        )
    if any(each.vm for each in state.vgpus):
        raise OperationRefused(Refusal.IN_USE, "virtual machines run; stop them to change the vGPU versions")
    return Change(replace(state, vgpu_versions=(lowest, highest)), (lowest, highest))


def set_vgpu_scheduler(
    state: NodeState,
    gpu: int,
    policy: int,
    *,
    adaptive: bool = False,
    average_factor: int = 0,
    frequency_hertz: int = 0,
    time_slice_nanoseconds: int = 0,
    gpu_instance: int | None = None,
) -> Change[GpuState]:
    """Choose how vGPUs take turns on a GPU, or inside a GPU instance; 0 stands for a setting's default.

    IN_USE while one is running there.
    """
    board = _host(state, gpu)
    if policy not in set(SchedulerPolicy):
        known = ", ".join(f"{each.value} ({each.name})" for each in SchedulerPolicy)
        raise OperationRefused(Refusal.INVALID_ARGUMENT, f"scheduler policy {policy} is not one of {known}")
    if running_on(state, gpu, gpu_instance):
        raise OperationRefused(Refusal.IN_USE, f"virtual machines run on GPU {gpu}; stop them first")
    plain = Scheduler()
    chosen = Scheduler(
        SchedulerPolicy(policy),
        adaptive,
        _within("average factor", average_factor or plain.average_factor, _AVERAGE_FACTOR),
        _within("frequency", frequency_hertz or _FREQUENCY_HERTZ[0], _FREQUENCY_HERTZ),
        _within("time slice", time_slice_nanoseconds or plain.time_slice_nanoseconds, _SLICE_NANOSECONDS),
    )
    changed = _with_scheduler(board, chosen, gpu_instance)
    return Change(with_gpu(state, changed), changed)


def running_on(state: NodeState, gpu: int, gpu_instance: int | None = None) -> tuple[Vgpu, ...]:
    """Return the vGPUs with a virtual machine on a GPU, or inside one of its GPU instances."""
    return tuple(
        each
        for each in state.vgpus
        if each.gpu == gpu and each.vm and gpu_instance in {None, each.gpu_instance}
    )


def vgpu_on(state: NodeState, carrier: str) -> Vgpu:
    """Return the vGPU on a mediated device or virtual function; OperationRefused NOT_FOUND lists those there are."""
    for each in state.vgpus:
        if each.carrier == carrier:
            return each
    known = ", ".join(each.carrier for each in state.vgpus) or "none"
    raise OperationRefused(Refusal.NOT_FOUND, f"no vGPU on {carrier}; there are: {known}")


def placed_on(state: NodeState, gpu: GpuState) -> tuple[Placed, ...]:
    """Return the vGPUs of a GPU as the rules of capacity want them."""
    types = types_of(gpu.board.vgpu)
    mine = (each for each in state.vgpus if each.gpu == gpu.index)
    return tuple(Placed(types[each.type_id], each.placement, each.gpu_instance) for each in mine)


def free_on(
    state: NodeState, gpu: GpuState, kind: VgpuType, *, gpu_instance: int | None = None
) -> tuple[int, ...]:
    """Return where a vGPU of a type would fit on a GPU, or inside one of its GPU instances."""
    return free_placements(
        kind,
        types_of(gpu.board.vgpu),
        placed_on(state, gpu),
        mixed=gpu.vgpu.mixed_sizes,
        gpu_instance=gpu_instance,
    )


def _with_scheduler(gpu: GpuState, chosen: Scheduler, gpu_instance: int | None) -> GpuState:
    if gpu_instance is None:
        return replace(gpu, vgpu=replace(gpu.vgpu, scheduler=chosen))
    held = gpu.mig.gpu_instance(gpu_instance) if gpu.mig else None
    if held is None or gpu.mig is None:
        raise OperationRefused(Refusal.NOT_FOUND, f"GPU {gpu.index} has no GPU instance {gpu_instance}")
    return replace(gpu, mig=gpu.mig.with_instance(replace(held, scheduler=chosen)))


def mig_is_on(gpu: GpuState) -> bool:
    """Tell whether the GPU is cut into instances, which then back its vGPUs."""
    return gpu.mig is not None and gpu.mig.current


def instances_on(gpu: GpuState) -> tuple[Instance, ...]:
    """Return the GPU instances that could back a vGPU."""
    instances = gpu.mig.gpu_instances if gpu.mig else ()
    return tuple(Instance(each.id, each.profile) for each in instances)


def _host(state: NodeState, gpu: int) -> GpuState:
    board = gpu_at(state, gpu)
    if board.lost:
        raise OperationRefused(Refusal.GPU_IS_LOST, f"GPU {gpu} ({board.uuid}) has fallen off the bus")
    if board.board.vgpu is None or not state.vgpu_manager:
        why = (
            f"{board.board.name} has no vGPU types"
            if board.board.vgpu is None
            else "no vGPU manager runs here"
        )
        raise OperationRefused(Refusal.NOT_SUPPORTED, why)
    if not board.nvml_visible:
        raise OperationRefused(Refusal.NOT_FOUND, f"GPU {gpu} is not on the NVIDIA driver")
    return board


def _backing(state: NodeState, gpu: GpuState, kind: VgpuType, asked: int | None) -> int | None:
    """Return the GPU instance for a type: the one that is asked for, or the first with room."""
    if kind.profile is None:
        if mig_is_on(gpu):
            raise OperationRefused(
                Refusal.INVALID_ARGUMENT, f"{kind.name} is time-sliced; GPU {gpu.index} is in MIG mode"
            )
        return None
    fitting = [
        each.id for each in instances_on(gpu) if each.profile == kind.profile and asked in {None, each.id}
    ]
    for each in fitting:
        if free_on(state, gpu, kind, gpu_instance=each):
            return each
    raise OperationRefused(
        Refusal.INSUFFICIENT_RESOURCES,
        f"{kind.name} needs a free GPU instance of profile {kind.profile} on GPU {gpu.index}; "
        f"of that profile: {fitting or 'none'}",
    )


def _full(gpu: GpuState, kind: VgpuType, placement: int | None, free: tuple[int, ...]) -> str:
    where = "" if placement is None else f" at placement {placement}"
    return f"{kind.name} does not fit on GPU {gpu.index}{where}; free placements: {list(free) or 'none'}"


def _next_id(state: NodeState) -> int:
    """Number vGPUs from 1; the number of one that is gone is not given again while later ones live."""
    return 1 + max((each.id for each in state.vgpus), default=0)


def _with_vgpu(state: NodeState, changed: Vgpu) -> NodeState:
    return replace(
        state, vgpus=tuple(changed if each.carrier == changed.carrier else each for each in state.vgpus)
    )


def _in_guest(
    state: NodeState, carrier: str, change: Callable[[VirtualMachine], VirtualMachine]
) -> Change[Vgpu]:
    found = vgpu_on(state, carrier)
    if found.vm is None:
        raise OperationRefused(Refusal.NOT_FOUND, f"no virtual machine runs on the vGPU of {carrier}")
    changed = replace(found, vm=change(found.vm))
    return Change(_with_vgpu(state, changed), changed)


def _checked_carrier(state: NodeState, gpu: GpuState, carrier: str) -> str:
    """Return the carrier as the kernel spells it."""
    if gpu.board.vgpu is not None and gpu.board.vgpu.framework == "mdev":
        carrier = _checked_uuid(carrier)
    elif carrier not in (virtual := virtual_functions(state, gpu)):
        listed = ", ".join(virtual) or "none: set sriov_numvfs first"
        raise OperationRefused(
            Refusal.NOT_FOUND, f"{carrier} is no virtual function of GPU {gpu.index}; there are: {listed}"
        )
    if any(each.carrier == carrier for each in state.vgpus):
        raise OperationRefused(Refusal.IN_USE, f"{carrier} carries a vGPU already")
    return carrier


def virtual_functions(state: NodeState, gpu: GpuState) -> tuple[str, ...]:
    """Return the addresses of a GPU's virtual functions that the kernel has."""
    return tuple(str(each.address) for each in state.present_functions if each.physical == gpu.pci)


def _checked_uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise OperationRefused(Refusal.INVALID_ARGUMENT, f"{text!r} is no UUID") from None


def _within(what: str, value: int, allowed: tuple[int, int]) -> int:
    if not allowed[0] <= value <= allowed[1]:
        raise OperationRefused(
            Refusal.INVALID_ARGUMENT, f"{what} {value}; expected {allowed[0]}..{allowed[1]}"
        )
    return value


OPERATIONS = (
    create_vgpu,
    remove_vgpu,
    place_vgpu,
    start_vm,
    stop_vm,
    boot_guest,
    run_in_guest,
    end_in_guest,
    set_guest_accounting,
    clear_guest_accounting,
    set_encoder_capacity,
    set_mixed_sizes,
    set_vgpu_capability,
    set_vgpu_versions,
    set_vgpu_scheduler,
)
