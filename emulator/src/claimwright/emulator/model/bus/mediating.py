"""vGPUs as the kernel sees them: mediated devices, or types assigned to virtual functions.

What fits is the vGPU model's business (model.vgpu); here are the parents, the uniqueness of UUIDs, and errnos.
"""

from __future__ import annotations

import errno
import re
from dataclasses import replace

from claimwright.emulator.errors import KernelRefused, OperationRefused, Refusal
from claimwright.emulator.model.bus import groups, vfio
from claimwright.emulator.model.bus.mediated import MediatedDevice
from claimwright.emulator.model.pci import FunctionKind, PciAddress
from claimwright.emulator.model.state import GpuState, NodeState
from claimwright.emulator.model.vgpu import Vgpu, VgpuType, creatable_types, types_of

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NO_ROOM = {Refusal.INSUFFICIENT_RESOURCES: errno.EUSERS, Refusal.IN_USE: errno.EBUSY}


def owner(state: NodeState, function: PciAddress) -> GpuState | None:
    """Return the GPU that a function, physical or virtual, belongs to."""
    physical = state.function(function).physical or function
    return next((gpu for gpu in state.gpus if gpu.pci == physical), None)


def mdev_parents(state: NodeState) -> tuple[PciAddress, ...]:
    """Return the functions that offer mediated devices: virtual ones where the board has them, else GPUs."""
    return _hosts(state, "mdev")


def vendor_functions(state: NodeState) -> tuple[PciAddress, ...]:
    """Return the virtual functions with vendor-specific vGPU files."""
    return _hosts(state, "vendor-specific")


def types_at(state: NodeState, function: PciAddress) -> tuple[VgpuType, ...]:
    """Return the types of a function's board, by id."""
    gpu = owner(state, function)
    return () if gpu is None else tuple(types_of(gpu.board.vgpu).values())


def creatable(state: NodeState, function: PciAddress) -> tuple[VgpuType, ...]:
    """Return the types that can be made on a function now; a virtual function carries one vGPU."""
    from claimwright.emulator.model.operations.vgpu import instances_on, mig_is_on, placed_on  # noqa: PLC0415

    gpu = owner(state, function)
    virtual = state.function(function).kind is FunctionKind.VIRTUAL
    if gpu is None or (virtual and _carries(state, function)):
        return ()
    return creatable_types(
        types_of(gpu.board.vgpu),
        placed_on(state, gpu),
        instances_on(gpu),
        mixed=gpu.vgpu.mixed_sizes,
        mig=mig_is_on(gpu),
    )


def available(state: NodeState, function: PciAddress, kind: VgpuType) -> int:
    """Return what `available_instances` reads: how many more of a type can be made on a function."""
    from claimwright.emulator.model.operations.vgpu import free_on  # noqa: PLC0415

    gpu = owner(state, function)
    if gpu is None or kind not in creatable(state, function):
        return 0
    if state.function(function).kind is FunctionKind.VIRTUAL or kind.profile is not None:
        return 1
    return len(free_on(state, gpu, kind))


def assigned(state: NodeState, function: PciAddress) -> Vgpu | None:
    """Return the vGPU that a virtual function carries by itself."""
    return next((each for each in state.vgpus if each.carrier == str(function)), None)


def mdev_created(state: NodeState, function: PciAddress, type_id: int, text: str) -> NodeState:
    """Make a mediated device, as create_store does: EINVAL, EEXIST, EUSERS."""
    if not 36 <= len(text) <= 37 or not _UUID.fullmatch(text[:36]):
        raise KernelRefused(
            errno.EINVAL, f"{text!r} is no UUID; expected 36 characters such as those of uuidgen"
        )
    uuid = text[:36].lower()
    if any(each.uuid == uuid for each in state.mediated):
        raise KernelRefused(errno.EEXIST, f"mediated device {uuid} exists already")
    kind = next((each for each in types_at(state, function) if each.id == type_id), None)
    if kind is None or not available(state, function, kind):
        raise KernelRefused(errno.EUSERS, f"{function} has no room for another vGPU of type {type_id}")
    return with_device(_carrying(state, function, type_id, uuid), function, type_id, uuid)


def with_device(state: NodeState, parent: PciAddress, type_id: int, uuid: str) -> NodeState:
    """Register a mediated device, which gets a group and a VFIO device of its own."""
    group, number = groups.free_group(state), groups.lowest_free_device(state)
    return replace(state, mediated=(*state.mediated, MediatedDevice(uuid, parent, type_id, group, number)))


def type_assigned(state: NodeState, function: PciAddress, type_id: int) -> NodeState:
    """Write `current_vgpu_type`: 0 clears; EINVAL for what cannot be made, EBUSY while a machine has it."""
    if function not in vendor_functions(state):
        raise KernelRefused(errno.ENODEV, f"{function} carries no vGPU: it is not on the NVIDIA driver")
    number = state.bus.functions[function].vfio_device
    if number is not None and type_id == 0 and (opened := vfio.users(state, number)):
        raise KernelRefused(errno.EBUSY, f"{function} is open: {opened[0][0]} by {opened[0][1]}")
    if type_id == 0:
        return state if assigned(state, function) is None else without_vgpu(state, str(function))
    if all(kind.id != type_id for kind in creatable(state, function)):
        raise KernelRefused(errno.EINVAL, f"vGPU type {type_id} cannot be made on {function} now")
    return _carrying(state, function, type_id, str(function))


def _hosts(state: NodeState, framework: str) -> tuple[PciAddress, ...]:
    found = []
    for function in state.present_functions if state.vgpu_manager else ():
        gpu = owner(state, function.address)
        spec = None if gpu is None else gpu.board.vgpu
        if spec is None or spec.framework != framework or state.bus.driver_of(function.address) != "nvidia":
            continue
        if (function.kind is FunctionKind.VIRTUAL) == (spec.virtual_functions > 0):
            found.append(function.address)
    return tuple(found)


def _carries(state: NodeState, function: PciAddress) -> bool:
    return assigned(state, function) is not None or any(each.parent == function for each in state.mediated)


def _carrying(state: NodeState, function: PciAddress, type_id: int, carrier: str) -> NodeState:
    from claimwright.emulator.model.operations.vgpu import create_vgpu  # noqa: PLC0415

    gpu = owner(state, function)
    assert gpu is not None
    try:
        return create_vgpu(state, gpu.index, type_id, carrier).state
    except OperationRefused as refused:
        raise KernelRefused(_NO_ROOM.get(refused.reason, errno.EINVAL), refused.said) from None


def without_vgpu(state: NodeState, carrier: str) -> NodeState:
    """Remove the vGPU that something carries, if it is still there; EBUSY while a machine runs on it."""
    from claimwright.emulator.model.operations.vgpu import remove_vgpu  # noqa: PLC0415

    try:
        return remove_vgpu(state, carrier).state
    except OperationRefused as refused:
        if refused.reason is Refusal.NOT_FOUND:  # removed by another way already
            return state
        raise KernelRefused(errno.EBUSY, refused.said) from None
