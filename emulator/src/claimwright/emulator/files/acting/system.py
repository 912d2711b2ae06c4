"""Stores beside the bus: module parameters, hugepages, IOMMU group types, and the NVIDIA driver's unbindLock."""

from __future__ import annotations

import errno
from dataclasses import replace

from claimwright.emulator.errors import KernelRefused
from claimwright.emulator.files.acting.parsing import boolean, name, unsigned
from claimwright.emulator.files.acting.stores import Store
from claimwright.emulator.model import NodeState, hugepages
from claimwright.emulator.model.bus import MODULES
from claimwright.emulator.model.operations import bus

_GROUP_TYPES = {"identity", "DMA", "DMA-FQ", "auto"}


def _parameter(state: NodeState, subject: str, text: str) -> NodeState:
    module, _, parameter = subject.partition("/")
    if module not in state.bus.modules:
        raise KernelRefused(errno.ENODEV, f"module {module} is gone")
    kind = MODULES[module].parameters[parameter].kind
    value = ("Y" if boolean(text) else "N") if kind == "bool" else str(unsigned(text, 32))
    changed = {**state.bus.parameters, (module, parameter): value}
    return replace(state, bus=replace(state.bus, parameters=changed))


def _hugepages(state: NodeState, subject: str, text: str) -> NodeState:
    place, _, size = subject.partition("/")
    pages = unsigned(text)
    if place == "all":
        return hugepages.spread(state, int(size), pages)
    return hugepages.reserved(state, int(place), int(size), pages)


def _group_type(_state: NodeState, subject: str, text: str) -> NodeState:
    """Refuse as iommu_group_store_type does while a member has a driver, or for a word that is none."""
    if name(text) not in _GROUP_TYPES:
        raise KernelRefused(
            errno.EINVAL, f"{text.strip()!r} is no type; expected one of {sorted(_GROUP_TYPES)}"
        )
    raise KernelRefused(errno.EBUSY, f"IOMMU group {subject}: its type cannot change at run time here")


def _unbind_lock(state: NodeState, subject: str, text: str) -> NodeState:
    """Take the lock when the GPU is idle, or leave it; success either way: the writer reads what came of it."""
    return bus.set_unbind_lock(state, subject, locked=text.startswith("1")).state


STORES: dict[str, Store] = {
    "parameter": _parameter,
    "nr_hugepages": _hugepages,
    "iommu_type": _group_type,
    "unbind_lock": _unbind_lock,
}
