"""vGPU schedulers of a GPU: policy, adaptive round robin, and the log of turns."""

from __future__ import annotations

import time
from dataclasses import dataclass

from claimwright.emulator.model.operations import vgpu
from claimwright.emulator.model.vgpu import Scheduler, SchedulerPolicy, types_of
from claimwright.emulator.nvml._generated import records as r
from claimwright.emulator.nvml.answers.call import Call, Refused
from claimwright.emulator.nvml.answers.mig import gpu_instance
from claimwright.emulator.nvml.answers.vgpu_hosts import host
from claimwright.emulator.nvml.handles import Handle
from claimwright.emulator.nvml.layout import Result

_ENGINES = {1}  # graphics; the encoders have schedulers of their own only where MIG shares them
_LOG_ENTRIES = 200  # NVML_SCHEDULER_SW_MAX_LOG_ENTRIES
_LEAST_NANOSECONDS, _MOST_NANOSECONDS = 1_000_000, 30_000_000
_LEAST_HERTZ, _MOST_HERTZ = 63, 1000
_LEAST_FACTOR, _MOST_FACTOR = 1, 60
_ADAPTIVE, _FIXED = 2, 1  # NVML_VGPU_SCHEDULER_ARR_ENABLE, _DISABLE


@dataclass(frozen=True, slots=True)
class Turns:
    """The scheduler of a GPU or GPU instance, and the ids of the vGPUs that run there."""

    chosen: Scheduler
    running: tuple[int, ...]


def get_capabilities(call: Call, device: Handle, record: r.nvmlVgpuSchedulerCapabilities_t) -> None:
    """Return the policies and the ranges of their settings."""
    host(call, device)
    for index, policy in enumerate(SchedulerPolicy):
        record.supportedSchedulers[index] = policy
    record.minTimeslice, record.maxTimeslice = _LEAST_NANOSECONDS, _MOST_NANOSECONDS
    record.isArrModeSupported = 1
    record.minFrequencyForARR, record.maxFrequencyForARR = _LEAST_HERTZ, _MOST_HERTZ
    record.minAvgFactorForARR, record.maxAvgFactorForARR = _LEAST_FACTOR, _MOST_FACTOR


def get_state(
    call: Call, device: Handle, record: r.nvmlVgpuSchedulerGetState_t | r.nvmlVgpuSchedulerStateInfo_v1_t
) -> None:
    """Return how vGPUs take turns; the settings are 0 while none runs (nvml.h)."""
    _write_settings(turns_on(call, device), record)


def get_state_v2(call: Call, device: Handle, record: r.nvmlVgpuSchedulerStateInfo_v2_t) -> None:
    """Return it per engine."""
    turns = turns_on(call, device)
    need_engine(record.engineId)
    _write_settings_v2(turns, record)


def set_state(
    call: Call, device: Handle, record: r.nvmlVgpuSchedulerSetState_t | r.nvmlVgpuSchedulerState_v1_t
) -> None:
    """Choose it: with adaptive round robin by factor and frequency, without by the time slice."""
    call.need_admin()
    turns_on(call, device)
    adaptive = _adaptive(record.enableARRMode)
    rated, plain = record.schedulerParams.vgpuSchedDataWithARR, record.schedulerParams.vgpuSchedData
    call.perform(
        vgpu.set_vgpu_scheduler,
        device.gpu,
        record.schedulerPolicy,
        adaptive=adaptive,
        average_factor=rated.avgFactor if adaptive else 0,
        frequency_hertz=rated.frequency if adaptive else 0,
        time_slice_nanoseconds=0 if adaptive else plain.timeslice,
        gpu_instance=device.gpu_instance,
    )


def set_state_v2(call: Call, device: Handle, record: r.nvmlVgpuSchedulerState_v2_t) -> None:
    """Choose it per engine."""
    call.need_admin()
    turns_on(call, device)
    need_engine(record.engineId)
    call.perform(
        vgpu.set_vgpu_scheduler,
        device.gpu,
        record.schedulerPolicy,
        adaptive=bool(record.avgFactor or record.frequency),
        average_factor=record.avgFactor,
        frequency_hertz=record.frequency,
        gpu_instance=device.gpu_instance,
    )


def get_log(
    call: Call, device: Handle, record: r.nvmlVgpuSchedulerLog_t | r.nvmlVgpuSchedulerLogInfo_v1_t
) -> None:
    """Return the last turns: running vGPUs in rotation, each for a time slice."""
    turns = turns_on(call, device)
    record.engineId = 1
    _write_settings(turns, record)
    record.entriesCount = _write_turns(turns, record.logEntries)


def get_log_v2(call: Call, device: Handle, record: r.nvmlVgpuSchedulerLogInfo_v2_t) -> None:
    """Return the last turns of one engine."""
    turns = turns_on(call, device)
    need_engine(record.engineId)
    _write_settings_v2(turns, record)
    record.entriesCount = _write_turns(turns, record.logEntries)
    for entry in record.logEntries[: record.entriesCount]:
        entry.weight = 1


def turns_on(call: Call, device: Handle) -> Turns:
    """Return who takes turns on a GPU, or inside a GPU instance that vGPUs can share in time."""
    gpu = host(call, device)
    running = vgpu.running_on(call.state, device.gpu, device.gpu_instance)
    chosen = gpu.vgpu.scheduler
    if device.gpu_instance is not None:
        held = gpu_instance(call, device)[1]
        types = types_of(gpu.board.vgpu).values()
        if not any(kind.profile == held.profile and kind.per_instance > 1 for kind in types):
            raise Refused(Result.NOT_SUPPORTED)
        chosen = held.scheduler
    return Turns(chosen, tuple(each.id for each in running))


def _write_settings_v2(
    turns: Turns, record: r.nvmlVgpuSchedulerStateInfo_v2_t | r.nvmlVgpuSchedulerLogInfo_v2_t
) -> None:
    chosen, active = turns.chosen, bool(turns.running)
    record.schedulerPolicy = chosen.policy
    record.avgFactor = chosen.average_factor if active and chosen.adaptive else 0
    record.timeslice = _slice(chosen) if active else 0


def _write_settings(
    turns: Turns,
    record: r.nvmlVgpuSchedulerGetState_t
    | r.nvmlVgpuSchedulerStateInfo_v1_t
    | r.nvmlVgpuSchedulerLog_t
    | r.nvmlVgpuSchedulerLogInfo_v1_t,
) -> None:
    chosen, active = turns.chosen, bool(turns.running)
    record.schedulerPolicy = chosen.policy
    record.arrMode = _ADAPTIVE if chosen.adaptive else _FIXED
    if chosen.adaptive:
        record.schedulerParams.vgpuSchedDataWithARR.avgFactor = chosen.average_factor if active else 0
        record.schedulerParams.vgpuSchedDataWithARR.timeslice = _slice(chosen) if active else 0
    else:
        record.schedulerParams.vgpuSchedData.timeslice = _slice(chosen) if active else 0


def _write_turns(turns: Turns, entries: object) -> int:
    """Fill a log, newest turn last; each vGPU runs for a slice and waits for the others."""
    running = turns.running
    if not running:
        return 0
    length = _slice(turns.chosen)
    turn = time.monotonic_ns() // length
    for index in range(_LOG_ENTRIES):
        number = turn - _LOG_ENTRIES + 1 + index
        entry = entries[index]  # type: ignore[index]  # a ctypes array of either version's entries
        entry.timestamp = number * length
        entry.swRunlistId = running[number % len(running)]
        entry.timeRun = entry.targetTimeSlice = length
        entry.timeRunTotal = number // len(running) * length
        entry.cumulativePreemptionTime = 0
    return _LOG_ENTRIES


def _slice(chosen: Scheduler) -> int:
    """Return nanoseconds of one turn: set, or what the frequency of adaptive round robin leaves."""
    return 1_000_000_000 // chosen.frequency_hertz if chosen.adaptive else chosen.time_slice_nanoseconds


def _adaptive(mode: int) -> bool:
    if mode > _ADAPTIVE:
        raise Refused(Result.INVALID_ARGUMENT)
    return mode != _FIXED


def need_engine(engine: int) -> None:
    """Refuse an engine that NVML does not know, or whose turns nobody schedules."""
    if engine not in _ENGINES:
        raise Refused(Result.NOT_SUPPORTED if engine in (2, 3) else Result.INVALID_ARGUMENT)


ANSWERS = {
    "nvmlDeviceGetVgpuSchedulerCapabilities": get_capabilities,
    "nvmlDeviceGetVgpuSchedulerLog": get_log,
    "nvmlDeviceGetVgpuSchedulerLog_v2": get_log_v2,
    "nvmlDeviceGetVgpuSchedulerState": get_state,
    "nvmlDeviceGetVgpuSchedulerState_v2": get_state_v2,
    "nvmlDeviceSetVgpuSchedulerState": set_state,
    "nvmlDeviceSetVgpuSchedulerState_v2": set_state_v2,
}
