"""What vGPUs do: utilization of instances and of guests' processes, newest sample only."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TypeVar

from claimwright.emulator.model.vgpu import GuestProcess, Vgpu
from claimwright.emulator.nvml._generated import records as r
from claimwright.emulator.nvml.answers.call import Call, Refused
from claimwright.emulator.nvml.answers.vgpu_hosts import host
from claimwright.emulator.nvml.handles import Handle
from claimwright.emulator.nvml.layout import Result

_T = TypeVar("_T")
_UNSIGNED_INT = 1  # nvmlValueType_t
_PERIOD_MICROSECONDS = 1_000_000  # the driver samples once a second


def get_instances(
    call: Call, device: Handle, last_seen: int
) -> tuple[int, list[r.nvmlVgpuInstanceUtilizationSample_t]]:
    """Return the newest sample of each running vGPU (nvmlDeviceGetVgpuUtilization)."""
    at = _sampled(last_seen)
    return _UNSIGNED_INT, [_sample(each, at) for each in _needed(list(_running(call, device)))]


def get_instances_info(
    call: Call, device: Handle, record: r.nvmlVgpuInstancesUtilizationInfo_v1_t
) -> list[r.nvmlVgpuInstanceUtilizationInfo_v1_t]:
    """Return the same, media engines included."""
    at = _sampled(record.lastSeenTimeStamp)
    record.sampleValType = _UNSIGNED_INT
    return [_info(each, at) for each in _needed(list(_running(call, device)))]


def get_processes(call: Call, device: Handle, last_seen: int) -> list[r.nvmlVgpuProcessUtilizationSample_t]:
    """Return the newest sample of each guest process."""
    at = _sampled(last_seen)
    return [_process_sample(*each, at) for each in _needed(list(_guests(call, device)))]


def get_processes_info(
    call: Call, device: Handle, record: r.nvmlVgpuProcessesUtilizationInfo_v1_t
) -> list[r.nvmlVgpuProcessUtilizationInfo_v1_t]:
    """Return the same, media engines included."""
    at = _sampled(record.lastSeenTimeStamp)
    return [_process_info(*each, at) for each in _needed(list(_guests(call, device)))]


def _running(call: Call, device: Handle) -> Iterator[Vgpu]:
    gpu = host(call, device)
    return (each for each in call.state.vgpus if each.gpu == gpu.index and each.vm is not None)


def _guests(call: Call, device: Handle) -> Iterator[tuple[Vgpu, GuestProcess]]:
    for each in _running(call, device):
        for process in each.vm.processes if each.vm else ():
            yield each, process


def _sampled(last_seen: int) -> int:
    """Return when the newest sample was taken; NOT_FOUND when the caller has it already."""
    at = time.time_ns() // 1000 // _PERIOD_MICROSECONDS * _PERIOD_MICROSECONDS
    if at <= last_seen:
        raise Refused(Result.NOT_FOUND)
    return at


def _needed(found: list[_T]) -> list[_T]:
    if not found:
        raise Refused(Result.NOT_FOUND)
    return found


def _busy(each: Vgpu) -> tuple[int, int]:
    processes = each.vm.processes if each.vm else ()
    return (
        min(100, sum(process.gpu_percent for process in processes)),
        min(100, sum(process.memory_percent for process in processes)),
    )


def _sample(each: Vgpu, at: int) -> r.nvmlVgpuInstanceUtilizationSample_t:
    sample = r.nvmlVgpuInstanceUtilizationSample_t(vgpuInstance=each.id, timeStamp=at)
    sample.smUtil.uiVal, sample.memUtil.uiVal = _busy(each)
    return sample


def _info(each: Vgpu, at: int) -> r.nvmlVgpuInstanceUtilizationInfo_v1_t:
    sample = r.nvmlVgpuInstanceUtilizationInfo_v1_t(vgpuInstance=each.id, timeStamp=at)
    sample.smUtil.uiVal, sample.memUtil.uiVal = _busy(each)
    return sample


def _process_sample(each: Vgpu, process: GuestProcess, at: int) -> r.nvmlVgpuProcessUtilizationSample_t:
    return r.nvmlVgpuProcessUtilizationSample_t(
        vgpuInstance=each.id,
        pid=process.pid,
        processName=process.name.encode()[:63],
        timeStamp=at,
        smUtil=process.gpu_percent,
        memUtil=process.memory_percent,
    )


def _process_info(each: Vgpu, process: GuestProcess, at: int) -> r.nvmlVgpuProcessUtilizationInfo_v1_t:
    return r.nvmlVgpuProcessUtilizationInfo_v1_t(
        vgpuInstance=each.id,
        pid=process.pid,
        processName=process.name.encode()[:63],
        timeStamp=at,
        smUtil=process.gpu_percent,
        memUtil=process.memory_percent,
    )


ANSWERS = {
    "nvmlDeviceGetVgpuInstancesUtilizationInfo": get_instances_info,
    "nvmlDeviceGetVgpuProcessUtilization": get_processes,
    "nvmlDeviceGetVgpuProcessesUtilizationInfo": get_processes_info,
    "nvmlDeviceGetVgpuUtilization": get_instances,
}
