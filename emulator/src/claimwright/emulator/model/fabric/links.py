"""Which GPUs of a node reach each other over NVLink, and by how many links."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claimwright.emulator.model.fabric.manager import FabricManager
    from claimwright.emulator.model.state import GpuState


def reachable(manager: FabricManager | None, one: GpuState, other: GpuState) -> bool:
    """Tell whether traffic between two GPUs is routed: shared NVSwitches route inside active partitions only."""
    if manager is None or manager.mode != "shared_nvswitch" or one is other:
        return True
    partition = manager.holding(one.module_id)
    return partition is not None and other.module_id in partition.modules


def nvlink_matrix(gpus: Sequence[GpuState], manager: FabricManager | None) -> list[list[int]]:
    """Return how many NVLinks join each pair of GPUs: straight ones, and through switches those of the weaker end."""
    return [[_links(manager, here, there) for there in gpus] for here in gpus]


def _links(manager: FabricManager | None, here: GpuState, there: GpuState) -> int:
    if here is there or not reachable(manager, here, there):
        return 0
    straight = sum(link.active and link.remote == there.pci for link in here.nvlinks)
    ends = [
        sum(link.active and link.remote_kind == "nvswitch" for link in gpu.nvlinks) for gpu in (here, there)
    ]
    return straight + min(ends)
