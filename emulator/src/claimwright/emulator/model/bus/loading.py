"""Loading and unloading kernel modules, with what their drivers find and lose."""

from __future__ import annotations

import errno
from dataclasses import replace

from claimwright.emulator.errors import KernelRefused
from claimwright.emulator.model.bus import binding
from claimwright.emulator.model.bus.drivers import DRIVERS
from claimwright.emulator.model.bus.modules import MODULES, users, with_needed
from claimwright.emulator.model.state import NodeState


def loaded(state: NodeState, name: str) -> NodeState:
    """Load a module and what it needs (modprobe); its drivers probe what is unbound. KernelRefused ENOENT."""
    name = name.replace("-", "_")
    if name not in MODULES:
        known = ", ".join(MODULES)
        raise KernelRefused(errno.ENOENT, f"module {name} not found; this node has {known}")
    new = tuple(each for each in with_needed([name]) if each not in state.bus.modules)
    state = replace(state, bus=replace(state.bus, modules=(*state.bus.modules, *new)))
    return _probed(state) if new and state.bus.autoprobe else state


def unloaded(state: NodeState, name: str) -> NodeState:
    """Unload a module (rmmod); its drivers let go of their devices. KernelRefused ENOENT, EBUSY or EAGAIN.

    delete_module(2): a module that others need answers EWOULDBLOCK (EAGAIN), and so does one whose count is not 0.
    """
    name = name.replace("-", "_")
    if name not in state.bus.modules:
        raise KernelRefused(
            errno.ENOENT, f"module {name} is not loaded; loaded: {', '.join(state.bus.modules)}"
        )
    if needing := users(name, state.bus.modules):
        raise KernelRefused(errno.EAGAIN, f"module {name} is in use by {', '.join(needing)}")
    if held := using(state, name):
        raise KernelRefused(errno.EAGAIN, f"module {name} is in use by {', '.join(held)}")
    for spec in DRIVERS.values():
        for address in state.bus.bound_to(spec.name) if spec.module == name else ():
            state = binding.detach(state, address)
    bus = state.bus
    dynamic = {each: ids for each, ids in bus.dynamic_ids.items() if DRIVERS[each].module != name}
    parameters = {key: value for key, value in bus.parameters.items() if key[0] != name}
    modules = tuple(each for each in bus.modules if each != name)
    return replace(state, bus=replace(bus, modules=modules, dynamic_ids=dynamic, parameters=parameters))


def using(state: NodeState, name: str) -> tuple[str, ...]:
    """Say who has devices of a module's drivers open, in words."""
    specs = [spec for spec in DRIVERS.values() if spec.module == name]
    return tuple(
        who
        for spec in specs
        for address in state.bus.bound_to(spec.name)
        for who in binding.holders(state, address)
    )


def reference_count(state: NodeState, name: str) -> int:
    """Return what `refcnt` reads: modules that need this one, and open devices."""
    return len(users(name, state.bus.modules)) + len(using(state, name))


def _probed(state: NodeState) -> NodeState:
    for address in sorted(state.bus.functions):
        state = binding.attach_by_match(state, address)
    return state
