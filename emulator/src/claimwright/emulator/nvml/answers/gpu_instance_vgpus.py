"""vGPUs inside GPU instances: which fit, which run, and how those that share one take turns.

A GPU instance that several vGPUs can share in time exists on GB20x alone (gpu-hardware.md §6); elsewhere, and where no
vGPU manager runs, these are NOT_SUPPORTED, as nvml.h says.
"""

from __future__ import annotations

from claimwright.emulator.model.operations import vgpu
from claimwright.emulator.model.vgpu import types_of
from claimwright.emulator.nvml._generated import records as r
from claimwright.emulator.nvml.answers.call import Call, Refused
from claimwright.emulator.nvml.answers.mig import gpu_instance
from claimwright.emulator.nvml.answers.vgpu_hosts import host
from claimwright.emulator.nvml.answers.vgpu_scheduling import (
    get_log,
    get_log_v2,
    get_state,
    get_state_v2,
    need_engine,
    set_state,
    set_state_v2,
    turns_on,
)
from claimwright.emulator.nvml.handles import Handle
from claimwright.emulator.nvml.layout import Result


def get_creatable(call: Call, instance: Handle, _record: r.nvmlVgpuTypeIdInfo_v1_t) -> list[int]:
    """Return the ids of the types of which one more fits into this GPU instance."""
    gpu, held = host(call, instance), gpu_instance(call, instance)[1]
    kinds = (kind for kind in types_of(gpu.board.vgpu).values() if kind.profile == held.profile)
    return [kind.id for kind in kinds if vgpu.free_on(call.state, gpu, kind, gpu_instance=held.id)]


def get_active(call: Call, instance: Handle, _record: r.nvmlActiveVgpuInstanceInfo_v1_t) -> list[int]:
    """Return the vGPUs that run in this GPU instance."""
    host(call, instance)
    held = gpu_instance(call, instance)[1]
    return [each.id for each in vgpu.running_on(call.state, instance.gpu, held.id)]


def get_mixed_sizes(call: Call, instance: Handle, record: r.nvmlVgpuHeterogeneousMode_v1_t) -> None:
    """Return that vGPUs of one size share a GPU instance."""
    turns_on(call, instance)
    record.mode = 0


def set_mixed_sizes(call: Call, instance: Handle, record: r.nvmlVgpuHeterogeneousMode_v1_t) -> None:
    """Accept that sizes are equal; several in one GPU instance are not modelled, and NOT_SUPPORTED."""
    call.need_admin()
    turns = turns_on(call, instance)
    if record.mode > 1:
        raise Refused(Result.INVALID_ARGUMENT)
    if turns.running:
        raise Refused(Result.IN_USE)
    if record.mode:
        raise Refused(Result.NOT_SUPPORTED)


def get_creatable_placements(
    call: Call, instance: Handle, _record: r.nvmlVgpuCreatablePlacementInfo_v1_t
) -> list[int]:
    """Refuse: places matter only where sizes are mixed (nvml.h: NOT_SUPPORTED unless heterogeneous)."""
    turns_on(call, instance)
    raise Refused(Result.NOT_SUPPORTED)


def get_engine_state(call: Call, instance: Handle, record: r.nvmlVgpuSchedulerStateInfo_v1_t) -> None:
    """Return how vGPUs take turns on an engine of this GPU instance."""
    turns_on(call, instance)
    need_engine(record.engineId)
    get_state(call, instance, record)


def set_engine_state(call: Call, instance: Handle, record: r.nvmlVgpuSchedulerState_v1_t) -> None:
    """Choose it."""
    call.need_admin()
    turns_on(call, instance)
    need_engine(record.engineId)
    set_state(call, instance, record)


def get_engine_log(call: Call, instance: Handle, record: r.nvmlVgpuSchedulerLogInfo_v1_t) -> None:
    """Return the last turns on an engine of this GPU instance."""
    turns_on(call, instance)
    need_engine(record.engineId)
    get_log(call, instance, record)


ANSWERS = {
    "nvmlGpuInstanceGetCreatableVgpus": get_creatable,
    "nvmlGpuInstanceGetActiveVgpus": get_active,
    "nvmlGpuInstanceGetVgpuHeterogeneousMode": get_mixed_sizes,
    "nvmlGpuInstanceSetVgpuHeterogeneousMode": set_mixed_sizes,
    "nvmlGpuInstanceGetVgpuTypeCreatablePlacements": get_creatable_placements,
    "nvmlGpuInstanceGetVgpuSchedulerState": get_engine_state,
    "nvmlGpuInstanceSetVgpuSchedulerState": set_engine_state,
    "nvmlGpuInstanceGetVgpuSchedulerLog": get_engine_log,
    "nvmlGpuInstanceGetVgpuSchedulerState_v2": get_state_v2,
    "nvmlGpuInstanceSetVgpuSchedulerState_v2": set_state_v2,
    "nvmlGpuInstanceGetVgpuSchedulerLog_v2": get_log_v2,
}
