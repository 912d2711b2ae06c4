"""Hugepages: reserved per NUMA node, as many as fit, and never a complaint (mm/hugetlb.c)."""

from __future__ import annotations

import errno
from dataclasses import replace

from claimwright.emulator.errors import KernelRefused
from claimwright.emulator.model.state import NodeState

SIZES = (2048, 1048576)  # KiB
_KERNEL_MIB = 1024  # what the rest of the system keeps of each node


def reserved(state: NodeState, node: int, size_kib: int, pages: int) -> NodeState:
    """Reserve this many pages of a size on a node, or as many as its memory has room for."""
    found = next((each for each in state.numa if each.id == node), None)
    if found is None or size_kib not in SIZES:
        raise KernelRefused(errno.ENOENT, f"no hugepages of {size_kib} kB on NUMA node {node}")
    others = sum(
        count * size for (each, size), count in state.hugepages.items() if each == node and size != size_kib
    )
    room = max((found.memory_mib - _KERNEL_MIB) * 1024 - others, 0) // size_kib
    return replace(state, hugepages={**state.hugepages, (node, size_kib): min(pages, room)})


def spread(state: NodeState, size_kib: int, pages: int) -> NodeState:
    """Reserve pages evenly over all nodes with memory, as the global file does; what one lacks others give."""
    left = pages
    for position, node in enumerate(state.numa):
        share = -(-left // (len(state.numa) - position))
        state = reserved(state, node.id, size_kib, share)
        left -= state.hugepages[node.id, size_kib]
    return state
