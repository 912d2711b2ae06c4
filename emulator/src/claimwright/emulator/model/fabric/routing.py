"""What the fabric manager's decisions do to a GPU: its links, and what its fabric info says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from claimwright.emulator.model.fabric.manager import FabricManager, FabricMode
from claimwright.emulator.model.fabric.membership import Fabric, FabricHealth, FabricState

if TYPE_CHECKING:
    from claimwright.emulator.model.state import GpuState


def routed(gpu: GpuState, manager: FabricManager | None) -> GpuState:
    """Return the GPU as the fabric manager has just set it up; a node without one, or on bare metal, leaves it alone.

    With shared NVSwitches a GPU waits (IN_PROGRESS) until a partition with it is active; its links are trained only
    when the partition has other GPUs.
    """
    if manager is None or manager.mode is not FabricMode.SHARED_NVSWITCH:
        return gpu
    partition = manager.holding(gpu.module_id)
    linked = partition is not None and len(partition.modules) > 1
    nvlinks = tuple(replace(link, active=linked) for link in gpu.nvlinks)
    fabric = gpu.fabric and _assigned(gpu.fabric, assigned=partition is not None)
    return replace(gpu, nvlinks=nvlinks, fabric=fabric)


def _assigned(fabric: Fabric, *, assigned: bool) -> Fabric:
    state = FabricState.COMPLETED if assigned else FabricState.IN_PROGRESS
    health = fabric.health
    if health != FabricHealth():
        health = replace(health, partition_assigned=assigned)
    return replace(fabric, state=state, status=0, health=health)
