"""/sys/module and /proc/modules: what is loaded, who uses it, and parameters."""

from __future__ import annotations

from collections.abc import Iterator

from claimwright.emulator.files.parts import Part
from claimwright.emulator.files.tree import Acts, Dir, File, Link, Tree, text, up_from
from claimwright.emulator.model import NodeState
from claimwright.emulator.model.bus import MODULES
from claimwright.emulator.model.bus.loading import reference_count
from claimwright.emulator.model.bus.modules import users


def modules(state: NodeState) -> Iterator[Part]:
    """Yield one part per loaded module."""
    for name in state.bus.modules:
        changed = tuple(
            sorted((key[1], value) for key, value in state.bus.parameters.items() if key[0] == name)
        )
        facts = (reference_count(state, name), users(name, state.bus.modules), changed)
        yield Part(("module", name), facts, lambda name=name: _module(state, name))  # type: ignore[misc]


def listing(state: NodeState) -> str:
    """Return /proc/modules, the last loaded first, as the kernel lists it."""
    lines = []
    for name in reversed(state.bus.modules):
        using = "".join(f"{user}," for user in users(name, state.bus.modules)) or "-"
        size, count = MODULES[name].size_bytes, reference_count(state, name)
        lines.append(f"{name} {size} {count} {using} Live 0x0000000000000000\n")
    return "".join(lines)


def others(listing: str) -> str:
    """Return the lines of a machine's /proc/modules that are about modules which no emulated node can have."""
    return "".join(
        line for line in listing.splitlines(keepends=True) if line.partition(" ")[0] not in MODULES
    )


def _module(state: NodeState, name: str) -> Tree:
    spec, folder = MODULES[name], f"sys/module/{name}"
    tree: Tree = {
        f"{folder}/refcnt": text(reference_count(state, name)),
        f"{folder}/initstate": text("live"),
        f"{folder}/coresize": text(spec.size_bytes),
        f"{folder}/holders": Dir(),
    }
    if spec.versioned:
        tree[f"{folder}/version"] = text(state.driver_version)
    for user in users(name, state.bus.modules):
        tree[f"{folder}/holders/{user}"] = Link(up_from(f"{folder}/holders", f"sys/module/{user}"))
    for parameter, each in spec.parameters.items():
        value = state.bus.parameters.get((name, parameter), each.value)
        acts = Acts("parameter", f"{name}/{parameter}") if each.mode & 0o200 else None
        tree[f"{folder}/parameters/{parameter}"] = File(f"{value}\n".encode(), each.mode, acts)
    return tree
