"""What a node profile can say against itself, each rule with the field to correct."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from claimwright.emulator.model.cpus import cpu_list_fault, parse_cpu_list
from claimwright.emulator.model.node_profile.slots import GpuSlot, NicSlot, NvSwitchSlot, endpoints
from claimwright.emulator.model.profile_text import Place

if TYPE_CHECKING:
    from claimwright.emulator.model.node_profile.profile import NodeProfile

Faults = Iterator[tuple[Place, str]]

_MOST_GPUS = 32  # NVML's topology pages and the kernel module's minors hold no more of them here
_MOST_LINKS = 36  # NVML_NVLINK_MAX_LINKS, header 13.5


def contradictions_of(profile: NodeProfile) -> Faults:
    """Yield each contradiction as (place, sentence); boards are looked at when the node is built."""
    yield from _numa_faults(profile)
    yield from _root_faults(profile)
    yield from profile.tree_faults
    yield from _device_faults(profile)
    if not profile.tree_faults:
        yield from _gpu_faults(profile)
        yield from _name_faults(profile)
    yield from _nvlink_faults(profile)
    if profile.vgpu_manager and profile.machine.virtualization == "pass_through":
        yield ("vgpu_manager",), "GPUs that were passed through to a virtual machine are not shared further"
    for index, path in enumerate(profile.unverified):
        if path.partition(".")[0] not in profile.defaults:
            yield ("unverified", index), f"{path!r} names no field of this node"


def _numa_faults(profile: NodeProfile) -> Faults:
    owner: dict[int, int] = {}
    for index, node in enumerate(profile.numa):
        if node.id != index:
            yield ("numa", index, "id"), f"expected {index}: nodes are listed in order, without holes"
        if len(node.distances) != len(profile.numa):
            yield (
                ("numa", index, "distances"),
                f"{len(node.distances)} distances for {len(profile.numa)} nodes",
            )
        elif node.distances[index] != 10:
            yield (
                ("numa", index, "distances"),
                f"the distance to itself is 10, not {node.distances[index]} (ACPI SLIT)",
            )
        if (wrong := cpu_list_fault(node.cpus)) is not None:
            yield ("numa", index, "cpus"), wrong
            continue
        for cpu in parse_cpu_list(node.cpus):
            if owner.setdefault(cpu, index) != index:
                yield ("numa", index, "cpus"), f"CPU {cpu} belongs to node {owner[cpu]} already"
                break
    if not any(node.cpus for node in profile.numa):
        yield ("numa",), "no node has a CPU"


def _root_faults(profile: NodeProfile) -> Faults:
    for index, root in enumerate(profile.pcie):
        if root.numa not in range(-1, len(profile.numa)):
            yield ("pcie", index, "numa"), f"there is no NUMA node {root.numa}"


def _device_faults(profile: NodeProfile) -> Faults:
    own = [board.key for board in profile.boards]
    for index, key in enumerate(own):
        if own.count(key) > 1:
            yield ("boards", index, "key"), f"{key!r} is given to two boards"
        if key in profile.devices:
            yield ("devices", key), f"{key!r} is a board already"


def _gpu_faults(profile: NodeProfile) -> Faults:
    gpus = [slot for slot in endpoints(profile) if isinstance(slot, GpuSlot)]
    if not gpus:
        yield ("pcie",), "a node without a gpu is no GPU node"
    if len(gpus) > _MOST_GPUS:
        yield ("pcie",), f"{len(gpus)} GPUs; a node has at most {_MOST_GPUS}"
    for slot in gpus:
        if not slot.at.endswith(".0"):
            yield ("pcie",), f"{slot.at} {slot.board}: a board is function 0 of its device"
    modules = [slot.module_id for slot in gpus if slot.module_id is not None]
    for twice in sorted({module for module in modules if modules.count(module) > 1}):
        yield ("pcie",), f"module_id {twice} is given to two gpus"
    for board in profile.boards:
        if board.key not in {slot.board for slot in gpus}:
            yield ("boards",), f"board {board.key!r} is at no address"


def _name_faults(profile: NodeProfile) -> Faults:
    names = [slot.name for slot in endpoints(profile) if isinstance(slot, NicSlot)]
    for twice in sorted({name for name in names if names.count(name) > 1}):
        yield ("pcie",), f"two nics are named {twice!r}"
    chips = [slot.physical_id for slot in endpoints(profile) if isinstance(slot, NvSwitchSlot)]
    for chip in sorted({chip for chip in chips if chips.count(chip) > 1}):
        yield ("pcie",), f"physical_id {chip} is given to two nvswitches"


def _nvlink_faults(profile: NodeProfile) -> Faults:
    wiring = profile.nvlink
    if wiring is None:
        return
    place = ("nvlink", "links_per_switch")
    inside = sum(isinstance(slot, NvSwitchSlot) for slot in endpoints(profile))
    if len(wiring.links_per_switch) != inside:
        yield place, f"{len(wiring.links_per_switch)} entries for {inside} nvswitches"
    links = sum(wiring.links_per_switch) + wiring.elsewhere
    if links > _MOST_LINKS:
        yield place, f"{links} links; a GPU has at most {_MOST_LINKS}"
