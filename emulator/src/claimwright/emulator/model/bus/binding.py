"""Which driver holds a function: probe and remove, and who keeps a driver from letting go.

A driver's remove() waits until nobody uses the device (nv_pci_remove of the open kernel modules loops on the usage
count, vfio_unregister_group_dev on its reference). So an unbind of a device in use is *pending*: `leaving` is set,
new users are refused, and `settled` completes it once the last holder is gone.
"""

from __future__ import annotations

import errno
from dataclasses import replace

from claimwright.emulator.errors import KernelRefused
from claimwright.emulator.model.bus import groups, vfio
from claimwright.emulator.model.bus.drivers import DRIVERS, DriverSpec
from claimwright.emulator.model.bus.values import BusFunction, Leaving
from claimwright.emulator.model.pci import FunctionKind, PciAddress
from claimwright.emulator.model.resets import after_unload
from claimwright.emulator.model.state import NVIDIA_DRIVER, ComputeMode, GpuState, NodeState


def with_function(state: NodeState, address: PciAddress, present: BusFunction) -> NodeState:
    """Return the state with one function's kernel side replaced."""
    return replace(state, bus=replace(state.bus, functions={**state.bus.functions, address: present}))


def is_loaded(state: NodeState, spec: DriverSpec) -> bool:
    """Tell whether a driver is registered: built in, or its module is loaded."""
    return not spec.module or spec.module in state.bus.modules


def matches(state: NodeState, address: PciAddress, spec: DriverSpec) -> bool:
    """Tell whether a driver accepts a function as it stands (id tables, dynamic ids, driver_override)."""
    return spec.accepts(
        state.function(address).identity,
        state.bus.functions[address].driver_override,
        state.bus.dynamic_ids.get(spec.name, ()),
    )


def attach(state: NodeState, address: PciAddress, spec: DriverSpec) -> NodeState:
    """Let a driver probe a function that has none; KernelRefused EBUSY, or what the probe failed with."""
    present = state.bus.functions[address]
    if present.driver is not None:
        raise KernelRefused(errno.EBUSY, f"{address} is bound to {present.driver} already; unbind it first")
    groups.check_may_join(state, address, spec)
    _check_alive(state, address)
    on_vfio = spec.vfio or _carries_vgpus(state, address, spec)
    number = groups.lowest_free_device(state) if on_vfio else None
    bound = replace(present, driver=spec.name, enable_count=1, vfio_device=number)
    return _told_gpu(with_function(state, address, bound), address)


def attach_by_match(state: NodeState, address: PciAddress) -> NodeState:
    """Offer an unbound function to every loaded driver (device_attach): probes that fail leave it unbound."""
    if state.bus.functions[address].driver is not None:
        return state
    for spec in DRIVERS.values():
        if is_loaded(state, spec) and matches(state, address, spec):
            try:
                return attach(state, address, spec)
            except KernelRefused:
                continue
    return state


def detach(state: NodeState, address: PciAddress) -> NodeState:
    """Take a function from its driver at once, whoever uses it; without one nothing happens."""
    present = state.bus.functions[address]
    if present.driver is None:
        return state
    free = replace(present, driver=None, leaving=None, unbind_locked=False, enable_count=0, vfio_device=None)
    state = _without_holders(with_function(state, address, free), address)
    return _told_gpu(vfio.abandoned(state, present.iommu_group, present.vfio_device), address)


def holders(state: NodeState, address: PciAddress) -> tuple[str, ...]:
    """Say who keeps a function's driver from letting go, in words; empty when nobody does."""
    present = state.bus.functions.get(address)
    if present is None or present.driver is None:
        return ()
    key = f"gpu/{address}"
    opened = [(key, pid) for pid in sorted(state.bus.holders.get(key, ()))]
    if present.vfio_device is not None:
        opened += vfio.users(state, present.vfio_device)
    found = [f"process {pid} ({key})" for key, pid in opened]
    gpu = gpu_of(state, address)
    if gpu is not None and gpu.nvml_visible:
        found += [f"process {each.pid} ({each.name})" for each in gpu.processes]
        found += ["persistence mode"] if gpu.persistence_mode else []
    return tuple(found)


def settled(state: NodeState) -> NodeState:
    """Complete what waited for a last user that is gone now."""
    waiting = state.bus.leaving
    for address in sorted(waiting, reverse=True):  # what is behind a bridge goes before it
        leaving = state.bus.functions[address].leaving
        if leaving is Leaving.UNBIND and not holders(state, address):
            state = detach(state, address)
        elif leaving is Leaving.REMOVE and not must_stay(state, address):
            state = without(detach(state, address), address)
    return state


def must_stay(state: NodeState, address: PciAddress) -> bool:
    """Tell whether a function cannot be removed yet: it is in use, or something behind or of it is still there."""
    step = str(address)
    return bool(holders(state, address)) or any(
        each.address in state.bus.functions and (step in each.path[:-1] or each.physical == address)
        for each in state.functions
    )


def without(state: NodeState, address: PciAddress) -> NodeState:
    """Return the state without a function that no driver holds; virtual functions end, hardware stays."""
    functions = {each: present for each, present in state.bus.functions.items() if each != address}
    hardware = tuple(
        each for each in state.functions if each.address != address or each.kind is not FunctionKind.VIRTUAL
    )
    return replace(state, functions=hardware, bus=replace(state.bus, functions=functions))


def gpu_of(state: NodeState, address: PciAddress) -> GpuState | None:
    """Return the GPU at an address, None when something else is there."""
    return next((gpu for gpu in state.gpus if gpu.pci == address), None)


def _carries_vgpus(state: NodeState, address: PciAddress, spec: DriverSpec) -> bool:
    """Whether NVIDIA's driver is itself the VFIO driver of a function: virtual ones of newer boards.

    Each has a vfio-dev folder and a group's node while it is bound (kubevirt#17642).
    """
    physical = state.function(address).physical
    gpu = None if physical is None else gpu_of(state, physical)
    if gpu is None or gpu.board.vgpu is None or not state.vgpu_manager:
        return False
    return spec.name == NVIDIA_DRIVER and gpu.board.vgpu.framework == "vendor-specific"


def _check_alive(state: NodeState, address: PciAddress) -> None:
    gpu = gpu_of(state, address)
    if gpu is not None and gpu.lost:
        raise KernelRefused(errno.EIO, f"{address} does not answer: GPU {gpu.index} has fallen off the bus")


def _without_holders(state: NodeState, address: PciAddress) -> NodeState:
    key = f"gpu/{address}"
    if key not in state.bus.holders:
        return state
    left = {each: pids for each, pids in state.bus.holders.items() if each != key}
    return replace(state, bus=replace(state.bus, holders=left))


def _told_gpu(state: NodeState, address: PciAddress) -> NodeState:
    """Keep the GPU's own view true: NVML lists it while the NVIDIA driver holds it, which forgets its settings."""
    gpu = gpu_of(state, address)
    visible = state.bus.driver_of(address) == NVIDIA_DRIVER
    if gpu is None or gpu.nvml_visible == visible:
        return state
    changed = replace(
        after_unload(gpu),
        nvml_visible=visible,
        processes=(),
        persistence_mode=False,
        compute_mode=ComputeMode.DEFAULT,
        clock_lock=None,
        ecc=gpu.ecc and replace(gpu.ecc, current=gpu.ecc.pending),
    )
    return replace(state, gpus=tuple(changed if each.index == gpu.index else each for each in state.gpus))
