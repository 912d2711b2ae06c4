"""The NUMA nodes of a node: those of its processors, and those that coherent GPUs add for their memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from claimwright.emulator.errors import ProfileError
from claimwright.emulator.model.cpus import cpu_list, dealt, parse_cpu_list
from claimwright.emulator.model.node_profile import GpuMemoryNodes, GpuSlot, NodeProfile, NumaNode, under

if TYPE_CHECKING:
    from claimwright.emulator.model.board import Board


@dataclass(frozen=True, slots=True)
class _MemoryNode:
    """A node to be added: beside which processor node, and what memory is online in it."""

    beside: int
    memory_mib: int


def numa_nodes(
    profile: NodeProfile, gpus: Sequence[GpuSlot], boards: Mapping[str, Board]
) -> tuple[NumaNode, ...]:
    """Return all NUMA nodes; ProfileError when coherent boards and `gpu_memory_nodes` do not go together."""
    coherent = [slot for slot in gpus if boards[slot.board].coherent_memory]
    spec = profile.gpu_memory_nodes
    if spec is None:
        if coherent:
            raise ProfileError(
                f"node profile {profile.key!r}: the memory of {coherent[0].board} is NUMA nodes of its own: "
                "say how many under gpu_memory_nodes"
            )
        return profile.numa
    if not coherent:
        raise ProfileError(
            f"node profile {profile.key!r}: gpu_memory_nodes, but no board has coherent memory"
        )
    return _extended(profile.numa, spec, _added(profile, coherent, boards, spec))


def memory_node(
    profile: NodeProfile, gpus: Sequence[GpuSlot], boards: Mapping[str, Board], at: str
) -> int | None:
    """Return the number of the NUMA node that a GPU's memory is, None where it is none."""
    coherent = [slot.at for slot in gpus if boards[slot.board].coherent_memory]
    if at not in coherent or profile.gpu_memory_nodes is None:
        return None
    return len(profile.numa) + coherent.index(at) * profile.gpu_memory_nodes.per_gpu


def with_machine_cpus(nodes: tuple[NumaNode, ...], online: str) -> tuple[NumaNode, ...]:
    """Return the nodes with the CPUs of a machine (a list) dealt to those that have processors."""
    holding = [node for node in nodes if node.cpus]
    shares = dict(
        zip((node.id for node in holding), dealt(parse_cpu_list(online), len(holding)), strict=True)
    )
    return tuple(node.model_copy(update={"cpus": cpu_list(shares.get(node.id, ()))}) for node in nodes)


def _added(
    profile: NodeProfile, coherent: Sequence[GpuSlot], boards: Mapping[str, Board], spec: GpuMemoryNodes
) -> list[_MemoryNode]:
    """List the new nodes: the driver puts a GPU's whole memory into its first, MIG would fill the others."""
    beside = {slot.at: root.numa for root in profile.roots for slot in under(root.ports)}
    return [
        _MemoryNode(max(beside[slot.at], 0), boards[slot.board].memory.total_mib if number == 0 else 0)
        for slot in coherent
        for number in range(spec.per_gpu)
    ]


def _extended(
    base: tuple[NumaNode, ...], spec: GpuMemoryNodes, added: Sequence[_MemoryNode]
) -> tuple[NumaNode, ...]:
    columns = {
        node.id: tuple(spec.near if each.beside == node.id else spec.far for each in added) for node in base
    }
    grown = [node.model_copy(update={"distances": node.distances + columns[node.id]}) for node in base]
    for index, each in enumerate(added):
        own = tuple(columns[node.id][index] for node in base)
        among = tuple(10 if other == index else spec.between for other in range(len(added)))
        grown.append(
            NumaNode(
                id=len(base) + index,
                socket=base[each.beside].socket,
                cpus="",
                memory_mib=each.memory_mib,
                distances=own + among,
            )
        )
    return tuple(grown)
