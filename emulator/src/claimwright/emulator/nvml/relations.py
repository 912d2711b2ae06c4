"""How the GPUs of a node lie to each other, as matrices of CAPACITY x CAPACITY bytes."""

from __future__ import annotations

from enum import IntEnum
from itertools import product

from claimwright.emulator.model import GpuState, NodeState
from claimwright.emulator.model.fabric import nvlink_matrix
from claimwright.emulator.nvml.layout import CAPACITY


class Ancestor(IntEnum):
    """`nvmlGpuTopologyLevel_t`."""

    INTERNAL = 0
    SINGLE = 10
    MULTIPLE = 20
    HOSTBRIDGE = 30
    NODE = 40
    SYSTEM = 50


def ancestor_levels(state: NodeState) -> bytes:
    """Return the nearest common ancestor of each two GPUs in the PCIe tree."""
    paths = {gpu.index: state.function(gpu.pci).path for gpu in state.gpus}
    matrix = bytearray(CAPACITY * CAPACITY)
    for first, second in product(state.gpus, repeat=2):
        if first is not second:
            level = _ancestor(first, second, paths[first.index], paths[second.index])
            matrix[first.index * CAPACITY + second.index] = level
    return bytes(matrix)


def link_peers(state: NodeState) -> bytes:
    """Return 1 for each two GPUs that reach each other over NVLink, directly or through a switch."""
    links = nvlink_matrix(state.gpus, state.fabric_manager)
    matrix = bytearray(CAPACITY * CAPACITY)
    for first, second in product(state.gpus, repeat=2):
        matrix[first.index * CAPACITY + second.index] = int(links[first.index][second.index] > 0)
    return bytes(matrix)


def _ancestor(first: GpuState, second: GpuState, one: tuple[str, ...], other: tuple[str, ...]) -> Ancestor:
    """One bridge chip below the meeting point is a switch; more are several (nvidia-smi's PIX and PXB)."""
    shared = next((depth for depth, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    if shared > 1:
        deepest = max(len(one), len(other))
        return Ancestor.SINGLE if deepest - shared <= 2 else Ancestor.MULTIPLE
    if shared == 1:
        return Ancestor.HOSTBRIDGE
    return Ancestor.NODE if first.numa_node == second.numa_node else Ancestor.SYSTEM
