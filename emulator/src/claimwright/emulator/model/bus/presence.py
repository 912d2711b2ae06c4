"""Which functions are there: the first scan of the bus, removal, and what a rescan finds again."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import replace

from claimwright.emulator.errors import KernelRefused
from claimwright.emulator.model.bus import binding, groups
from claimwright.emulator.model.bus.modules import with_needed
from claimwright.emulator.model.bus.values import Bus, BusFunction, Leaving
from claimwright.emulator.model.pci import FunctionKind, PciAddress, PciFunction
from claimwright.emulator.model.state import NodeState

_BOOT_MODULES = ("nvidia_uvm", "nvidia_modeset", "vfio_pci", "vfio_iommu_type1", "iommufd")


def booted(state: NodeState, first_iommu_group: int = 0) -> NodeState:
    """Return the state after the first scan, with the modules of a GPU node loaded and every match bound."""
    has_iommu = any(function.isolation is not None for function in state.functions)
    wanted = _BOOT_MODULES if has_iommu else _BOOT_MODULES[:2]
    audio = any(function.kind is FunctionKind.AUDIO for function in state.functions)
    more = ("mlx5_ib",) * bool(state.nics) + ("snd_hda_intel",) * audio
    modules = tuple(with_needed((*wanted, *more)))
    return rescanned(replace(state, bus=Bus(modules=modules, first_iommu_group=first_iommu_group)))


def find(state: NodeState, name: str) -> PciAddress | None:
    """Return the present function of this name (`0000:53:00.0`, exactly as the kernel spells it)."""
    return next((address for address in state.bus.functions if str(address) == name), None)


def require(state: NodeState, name: str) -> PciAddress:
    """Return the present function of this name; KernelRefused ENODEV names those that exist."""
    address = find(state, name)
    if address is None:
        gpus = ", ".join(str(gpu.pci) for gpu in state.gpus if gpu.pci in state.bus.functions) or "none"
        raise KernelRefused(errno.ENODEV, f"no PCI function {name!r} on this node; GPUs are at {gpus}")
    return address


def rescanned(state: NodeState, below: str | None = None) -> NodeState:
    """Find functions that are there but unknown, in address order, and offer them to the drivers.

    `below` limits the search to what has this step in its path (a bridge's own `rescan`).
    """
    found = [
        function
        for function in state.functions
        if function.address not in state.bus.functions and (below is None or below in function.path[:-1])
    ]
    for function in found:
        if _reachable(state, function):
            state = _added(state, function)
    return state


def _reachable(state: NodeState, function: PciFunction) -> bool:
    return all(find(state, step) is not None for step in function.path[1:-1])


def _added(state: NodeState, function: PciFunction) -> NodeState:
    present = BusFunction(numa_node=function.numa_node, iommu_group=groups.group_for(state, function))
    state = binding.with_function(state, function.address, present)
    return binding.attach_by_match(state, function.address)  # pci_bus_add_device asks no autoprobe switch


def added(
    state: NodeState, functions: Iterable[PciFunction], *, probe: bool, override: str | None = None
) -> NodeState:
    """Add hardware that was not there before (virtual functions, a hot-plugged card)."""
    new = tuple(functions)
    state = replace(state, functions=tuple(sorted((*state.functions, *new), key=lambda each: each.address)))
    for function in new:
        group = groups.group_for(state, function)
        new_one = BusFunction(function.numa_node, iommu_group=group, driver_override=override)
        state = binding.with_function(state, function.address, new_one)
        if probe:
            state = binding.attach_by_match(state, function.address)
    return state


def removed(state: NodeState, address: PciAddress) -> NodeState:
    """Take a function and all behind or in it off the bus; what is in use goes when its last user does."""
    for each in sorted(_with_dependents(state, address), reverse=True):
        if binding.must_stay(state, each):
            leaving = replace(state.bus.functions[each], leaving=Leaving.REMOVE)
            state = binding.with_function(state, each, leaving)
        else:
            state = binding.without(binding.detach(state, each), each)
    return state


def pulled(state: NodeState, address: PciAddress) -> NodeState:
    """Take a function off the bus at once, as a surprise removal does: its users lose it."""
    for each in sorted(_with_dependents(state, address), reverse=True):
        state = binding.without(binding.detach(state, each), each)
    return state


def _with_dependents(state: NodeState, address: PciAddress) -> list[PciAddress]:
    step = str(address)
    return [
        function.address
        for function in state.functions
        if function.address in state.bus.functions
        and (
            step in function.path or (function.kind is FunctionKind.VIRTUAL and function.physical == address)
        )
    ]
