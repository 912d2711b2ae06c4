"""vGPU schedulers of a GPU: policy, adaptive round robin, and the log of turns."""

from __future__ import annotations

import time

from claimwright.emulator.model import GpuState
from claimwright.emulator.model.operations import vgpu
from claimwright.emulator.model.vgpu import Scheduler, SchedulerPolicy
from claimwright.emulator.nvml._generated import records as r
from claimwright.emulator.nvml.answers.call import Call, Refused
from claimwright.emulator.nvml.answers.vgpu_hosts import host
from claimwright.emulator.nvml.handles import Handle
from claimwright.emulator.nvml.layout import Result

_ENGINES = {1}  # graphics; the encoders have schedulers of their own only where MIG shares them
_LOG_ENTRIES = 200  # NVML_SCHEDULER_SW_MAX_LOG_ENTRIES
_LEAST_NANOSECONDS, _MOST_NANOSECONDS = 1_000_000, 30_000_000
_LEAST_HERTZ, _MOST_HERTZ = 63, 1000
_LEAST_FACTOR, _MOST_FACTOR = 1, 60
_ADAPTIVE, _FIXED = 2, 1  # NVML_VGPU_SCHEDULER_ARR_ENABLE, _DISABLE


def get_capabilities(call: Call, device: Handle, record: r.nvmlVgpuSchedulerCapabilities_t) -> None:
    """Return the policies and the ranges of their settings."""
    host(call, device)
    for index, policy in enumerate(SchedulerPolicy):
        record.supportedSchedulers[index] = policy
    record.minTimeslice, record.maxTimeslice = _LEAST_NANOSECONDS, _MOST_NANOSECONDS
    record.isArrModeSupported = 1
    record.minFrequencyForARR, record.maxFrequencyForARR = _LEAST_HERTZ, _MOST_HERTZ
    record.minAvgFactorForARR, record.maxAvgFactorForARR = _LEAST_FACTOR, _MOST_FACTOR


def get_state(call: Call, device: Handle, record: r.nvmlVgpuSchedulerGetState_t) -> None:
    """Return how vGPUs take turns; the settings are 0 while none runs (nvml.h)."""
    gpu = host(call, device)
    _write_settings(call, gpu, record)


def get_state_v2(call: Call, device: Handle, record: r.nvmlVgpuSchedulerStateInfo_v2_t) -> None:
    """Return it per engine."""
    gpu = host(call, device)
    _need_engine(record.engineId)
    chosen, active = gpu.vgpu.scheduler, _runs(call, gpu)
    record.schedulerPolicy = chosen.policy
    record.avgFactor = chosen.average_factor if active and chosen.adaptive else 0
    record.timeslice = _slice(chosen) if active else 0


def set_state(call: Call, device: Handle, record: r.nvmlVgpuSchedulerSetState_t) -> None:
    """Choose it: with adaptive round robin by factor and frequency, without by the time slice."""
    call.need_admin()
    host(call, device)
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
    )


def set_state_v2(call: Call, device: Handle, record: r.nvmlVgpuSchedulerState_v2_t) -> None:
    """Choose it per engine."""
    call.need_admin()
    host(call, device)
    _need_engine(record.engineId)
    call.perform(
        vgpu.set_vgpu_scheduler,
        device.gpu,
        record.schedulerPolicy,
        adaptive=bool(record.avgFactor or record.frequency),
        average_factor=record.avgFactor,
        frequency_hertz=record.frequency,
    )


def get_log(call: Call, device: Handle, record: r.nvmlVgpuSchedulerLog_t) -> None:
    """Return the last turns: running vGPUs in rotation, each for a time slice."""
    gpu = host(call, device)
    record.engineId = 1
    _write_settings(call, gpu, record)
    record.entriesCount = _write_turns(call, gpu, record.logEntries)


def get_log_v2(call: Call, device: Handle, record: r.nvmlVgpuSchedulerLogInfo_v2_t) -> None:
    """Return the last turns of one engine."""
    gpu = host(call, device)
    _need_engine(record.engineId)
    chosen, active = gpu.vgpu.scheduler, _runs(call, gpu)
    record.schedulerPolicy = chosen.policy
    record.avgFactor = chosen.average_factor if active and chosen.adaptive else 0
    record.timeslice = _slice(chosen) if active else 0
    record.entriesCount = _write_turns(call, gpu, record.logEntries)
    for entry in record.logEntries[: record.entriesCount]:
        entry.weight = 1


def _write_settings(
    call: Call, gpu: GpuState, record: r.nvmlVgpuSchedulerGetState_t | r.nvmlVgpuSchedulerLog_t
) -> None:
    chosen, active = gpu.vgpu.scheduler, _runs(call, gpu)
    record.schedulerPolicy = chosen.policy
    record.arrMode = _ADAPTIVE if chosen.adaptive else _FIXED
    if chosen.adaptive:
        record.schedulerParams.vgpuSchedDataWithARR.avgFactor = chosen.average_factor if active else 0
        record.schedulerParams.vgpuSchedDataWithARR.timeslice = _slice(chosen) if active else 0
    else:
        record.schedulerParams.vgpuSchedData.timeslice = _slice(chosen) if active else 0


def _write_turns(call: Call, gpu: GpuState, entries: object) -> int:
    """Fill a log, newest turn last; each vGPU runs for a slice and waits for the others."""
    running = [each.id for each in call.state.vgpus if each.gpu == gpu.index and each.vm]
    if not running:
        return 0
    length = _slice(gpu.vgpu.scheduler)
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


def _runs(call: Call, gpu: GpuState) -> bool:
    return any(each.gpu == gpu.index and each.vm for each in call.state.vgpus)


def _adaptive(mode: int) -> bool:
    if mode > _ADAPTIVE:
        raise Refused(Result.INVALID_ARGUMENT)
    return mode != _FIXED


def _need_engine(engine: int) -> None:
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
