"""/sys/devices/system: NUMA nodes with their hugepages, CPUs; and what DMI says."""

from __future__ import annotations

from collections.abc import Iterator

from claimwright.emulator.files.parts import Part
from claimwright.emulator.files.tree import Acts, File, Link, Tree, text, up_from
from claimwright.emulator.model import NodeState, NumaNode
from claimwright.emulator.model.cpus import cpu_list, cpu_mask, parse_cpu_list
from claimwright.emulator.model.hugepages import SIZES

_NODES = "sys/devices/system/node"
_ALLOCATIONS = ("numa_hit", "numa_miss", "numa_foreign", "interleave_hit", "local_node", "other_node")


def numa(state: NodeState) -> Iterator[Part]:
    """Yield the NUMA nodes and their hugepages."""
    yield Part("numa", state.numa, lambda: _summary(state))
    for node in state.numa:
        yield Part(("numa", node.id), node, lambda node=node: _node(state, node))  # type: ignore[misc]
    yield Part("hugepages", dict(state.hugepages), lambda: _hugepages(state))


def cpus(state: NodeState) -> Iterator[Part]:
    """Yield the processors."""
    yield Part("cpus", state.numa, lambda: _cpus(state))


def dmi(state: NodeState) -> Iterator[Part]:
    """Yield what firmware says of the machine."""
    folder = "sys/devices/virtual/dmi/id"
    yield Part(
        "dmi",
        state.machine,
        lambda: {
            f"{folder}/product_name": text(state.machine.product),
            f"{folder}/sys_vendor": text(state.machine.vendor),
            "sys/class/dmi/id": Link(up_from("sys/class/dmi", folder)),
        },
    )


def _summary(state: NodeState) -> Tree:
    every = cpu_list(node.id for node in state.numa)
    names = ("online", "possible", "has_memory", "has_normal_memory")
    tree: Tree = {f"{_NODES}/{name}": text(every) for name in names}
    tree[f"{_NODES}/has_cpu"] = text(cpu_list(node.id for node in state.numa if node.cpus))
    return tree


def _node(state: NodeState, node: NumaNode) -> Tree:
    folder = f"{_NODES}/node{node.id}"
    own = parse_cpu_list(node.cpus)
    kilobytes = node.memory_mib * 1024
    lines = (f"Node {node.id} {label}: {kilobytes:14d} kB\n" for label in ("MemTotal", "MemFree"))
    return {
        **{f"{folder}/cpu{cpu}": Link(f"../../cpu/cpu{cpu}") for cpu in own},
        f"{folder}/cpulist": text(cpu_list(own)),
        f"{folder}/cpumap": text(cpu_mask(own, _cpu_count(state))),
        f"{folder}/distance": text(" ".join(str(distance) for distance in node.distances)),
        f"{folder}/meminfo": File("".join(lines).encode()),
        f"{folder}/numastat": File("".join(f"{name} 0\n" for name in _ALLOCATIONS).encode()),
    }


def _hugepages(state: NodeState) -> Tree:
    """Return the pages of each node and their sums (mm/hugetlb.c)."""
    tree: Tree = {}
    for size in SIZES:
        pool = f"hugepages/hugepages-{size}kB"
        total = sum(state.hugepages.get((node.id, size), 0) for node in state.numa)
        counts = {
            f"{_NODES}/node{node.id}/{pool}": state.hugepages.get((node.id, size), 0) for node in state.numa
        }
        for folder, count in {**counts, f"sys/kernel/mm/{pool}": total}.items():
            place = folder.split("/")[4].removeprefix("node") if folder.startswith(_NODES) else "all"
            tree[f"{folder}/nr_hugepages"] = text(count, 0o644, Acts("nr_hugepages", f"{place}/{size}"))
            tree[f"{folder}/free_hugepages"] = text(count)
            tree[f"{folder}/surplus_hugepages"] = text(0)
    return tree


def _cpus(state: NodeState) -> Tree:
    every = cpu_list(cpu for node in state.numa for cpu in parse_cpu_list(node.cpus))
    tree: Tree = {f"sys/devices/system/cpu/{name}": text(every) for name in ("online", "possible", "present")}
    for node in state.numa:
        for cpu, siblings in _siblings(parse_cpu_list(node.cpus)):
            folder = f"sys/devices/system/cpu/cpu{cpu}/topology"
            tree[f"{folder}/physical_package_id"] = text(node.socket)
            tree[f"{folder}/core_id"] = text(siblings[0])
            tree[f"{folder}/thread_siblings_list"] = text(cpu_list(siblings))
    return tree


def _siblings(cpus: tuple[int, ...]) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Pair the first half of a node's CPUs with the second half: how firmware numbers hardware threads."""
    half = len(cpus) // 2
    for position, cpu in enumerate(cpus):
        if half and len(cpus) % 2 == 0:
            yield cpu, (cpus[position % half], cpus[position % half + half])
        else:
            yield cpu, (cpu,)


def _cpu_count(state: NodeState) -> int:
    return max((cpu for node in state.numa for cpu in parse_cpu_list(node.cpus)), default=0) + 1
