"""One request of a client, a line of words, and its answer: a return code, then lines, then an empty line."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

from claimwright.emulator.errors import OperationRefused, Refusal
from claimwright.emulator.model import GpuState, NodeModel, NodeState
from claimwright.emulator.model.fabric import FabricManager, FabricMode
from claimwright.emulator.model.operations import fabric

SOCKET = "run/nvidia-fabricmanager/socket"


class FmReturn(IntEnum):
    """`fmReturn_t` (nv_fm_types.h)."""

    SUCCESS = 0
    BADPARAM = -1
    GENERIC_ERROR = -2
    NOT_SUPPORTED = -3
    IN_USE = -7
    RESOURCE_NOT_IN_USE = -13
    NOT_READY = -22


_RESULTS = {
    Refusal.INVALID_ARGUMENT: FmReturn.BADPARAM,
    Refusal.NOT_SUPPORTED: FmReturn.NOT_SUPPORTED,
    Refusal.IN_USE: FmReturn.IN_USE,
    Refusal.INVALID_STATE: FmReturn.RESOURCE_NOT_IN_USE,
    Refusal.NOT_READY: FmReturn.NOT_READY,
}


def answer(model: NodeModel, request: str) -> str:
    """Carry one request out; whatever is no request is BADPARAM."""
    try:
        lines = list(_carried_out(model, request.split()))
    except OperationRefused as refused:
        return f"{int(_RESULTS.get(refused.reason, FmReturn.GENERIC_ERROR))}\n\n"
    except ValueError:
        return f"{int(FmReturn.BADPARAM)}\n\n"
    return "\n".join([str(int(FmReturn.SUCCESS)), *lines, "", ""])


def _carried_out(model: NodeModel, words: list[str]) -> Iterator[str]:
    match words:
        case ["list"]:
            state = model.snapshot()
            yield from _partitions(state, fabric.sharing_manager(state))
        case ["activate", number]:
            model.perform(fabric.activate_partition, int(number))
        case ["deactivate", number]:
            model.perform(fabric.deactivate_partition, int(number))
        case ["activated", *numbers]:
            model.perform(fabric.set_active_partitions, [int(number) for number in numbers])
        case ["failed"]:
            yield from _failed(model.snapshot())
        case _:
            raise ValueError(words)


def _partitions(state: NodeState, manager: FabricManager) -> Iterator[str]:
    """GPUs are named by module id only: with shared NVSwitches the host has no driver on them that knows more."""
    links = {gpu.module_id: len(gpu.nvlinks) for gpu in state.gpus}
    rates = {gpu.module_id: gpu.board.nvlink.megabytes_per_second for gpu in state.gpus if gpu.board.nvlink}
    for each in manager.partitions:
        yield f"partition {each.id} {int(each.id in manager.active)} {len(each.modules)}"
        for module in each.modules:
            count = links.get(module, 0) if len(each.modules) > 1 else 0
            yield f"gpu {module} - 00000000:00:00.0 {count} {count} {rates.get(module, 0)}"


def _failed(state: NodeState) -> Iterator[str]:
    """Links are failed where they should be trained: on bare metal, and in active partitions of several GPUs."""
    manager = state.fabric_manager
    for gpu in state.gpus:
        down = [str(link.index) for link in gpu.nvlinks if not link.active]
        if down and manager is not None and _is_routed(manager, gpu):
            yield f"gpu {gpu.uuid} {gpu.pci.nvml} {len(down)} {' '.join(down)}"


def _is_routed(manager: FabricManager, gpu: GpuState) -> bool:
    if manager.mode is FabricMode.BARE_METAL:
        return True
    partition = manager.holding(gpu.module_id)
    return partition is not None and len(partition.modules) > 1
